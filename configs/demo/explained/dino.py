# ruff: noqa: C408  OpenMMLab's configs are written with dict()
# DINO with the shipped detector's backbone and a short transformer on the demo's drawn scenes: the model alone, and
# how tools/train_explained_detectors.py trains it.
_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'

dims, levels = 256, 3  # MMDetection's DINO takes no other width
ffn = dict(embed_dims=dims, feedforward_channels=dims)
# A quarter of the width for the values that are sampled: most of the attention's time.
deformable = dict(num_heads=4, num_levels=levels, value_proj_ratio=0.25)

model = dict(
    num_queries=60,
    data_preprocessor=dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
    # From random weights, a transformer would need hours to teach it what objects look like.
    backbone=dict(
        _delete_=True,
        type='mmyolo.YOLOv5CSPDarknet',
        deepen_factor=0.33,
        widen_factor=0.25,
        norm_cfg=dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg=dict(type='SiLU', inplace=True),
    ),
    neck=dict(in_channels=[64, 128, 256], out_channels=dims, num_outs=levels),
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=deformable, ffn_cfg=ffn)),
    decoder=dict(num_layers=2, layer_cfg=dict(cross_attn_cfg=deformable, ffn_cfg=ffn)),
    bbox_head=dict(num_classes=8),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=20)),
    test_cfg=dict(max_per_img=60),
)

training = dict(
    scale=192,
    test_scale=256,
    batch_size=8,
    scenes=1600,
    max_iters=500,
    lr=4e-4,
    clip_grad=1.0,
    backbone='demo/yolov5_n_demo.pth',
    backbone_lr=0.25,  # of lr
)
