# ruff: noqa: C408  OpenMMLab's configs are written with dict()
# RTMDet, two thirds as wide as its tiny variant, on the demo's drawn scenes: the model alone, and how
# tools/train_explained_detectors.py trains it.
_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'

norm_cfg = dict(type='BN')

model = dict(
    backbone=dict(widen_factor=0.25, norm_cfg=norm_cfg, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256], out_channels=64, norm_cfg=norm_cfg),
    bbox_head=dict(num_classes=8, in_channels=64, feat_channels=64, norm_cfg=norm_cfg),
    test_cfg=dict(nms_pre=1000, score_thr=0.01, max_per_img=100),
)

training = dict(scale=192, test_scale=320, batch_size=8, scenes=1600, max_iters=1100, lr=2e-3)
