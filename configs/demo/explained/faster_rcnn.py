# ruff: noqa: C408  OpenMMLab's configs are written with dict()
# Faster R-CNN with a ResNet-18 of half the width on the demo's drawn scenes: the model alone, and how
# tools/train_explained_detectors.py trains it.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

channels = 64

model = dict(
    # From random weights, so nothing is frozen.
    backbone=dict(depth=18, base_channels=32, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=channels),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        # Objects start at 16 px.
        anchor_generator=dict(scales=[5], ratios=[0.6, 1.0, 1.7]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=2),
            out_channels=channels,
        ),
        bbox_head=dict(in_channels=channels, fc_out_channels=192, num_classes=8),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=400, max_per_img=150),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=150), rcnn=dict(score_thr=0.01)),
)

training = dict(scale=192, test_scale=320, batch_size=8, scenes=1600, max_iters=1000, lr=1e-3)
