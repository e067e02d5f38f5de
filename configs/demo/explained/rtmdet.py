# ruff: noqa: C408  OpenMMLab's configs are written with dict()
# RTMDet's neck and head, two thirds as wide as in its tiny variant, on the shipped detector's backbone, on the demo's
# drawn scenes: the model alone, and how tools/train_explained_detectors.py trains it.
_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'

norm_cfg = dict(type='BN')

model = dict(
    data_preprocessor=dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True),
    # From random weights, RTMDet's own CSPNeXt had learned next to nothing after as many iterations.
    backbone=dict(
        _delete_=True,
        type='mmyolo.YOLOv5CSPDarknet',
        deepen_factor=0.33,
        widen_factor=0.25,
        norm_cfg=dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg=dict(type='SiLU', inplace=True),
    ),
    neck=dict(in_channels=[64, 128, 256], out_channels=64, norm_cfg=norm_cfg),
    bbox_head=dict(num_classes=8, in_channels=64, feat_channels=64, norm_cfg=norm_cfg),
    test_cfg=dict(nms_pre=1000, score_thr=0.01, max_per_img=100),
)

training = dict(
    scale=192,
    test_scale=320,
    batch_size=8,
    scenes=1600,
    max_iters=450,
    lr=2e-3,
    backbone='demo/yolov5_n_demo.pth',
    backbone_lr=0.25,  # of lr
)
