# ruff: noqa: C408  OpenMMLab's configs are written with dict()
# The detector that is shipped with this project: YOLOv5-n on eight classes of drawn objects.
# The model and the test pipeline need no data; tools/train_demo_detector.py trains it from here.
_base_ = 'mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py'

classes = ('balloon', 'kite', 'sailboat', 'lighthouse', 'house', 'tree', 'fish', 'ball')
palette = [
    (230, 72, 66),
    (247, 168, 41),
    (52, 120, 206),
    (214, 60, 140),
    (150, 92, 60),
    (60, 158, 84),
    (26, 168, 172),
    (126, 84, 196),
]
metainfo = dict(classes=classes, palette=palette)
num_classes = len(classes)

train_scale = (320, 320)  # width, height
# Twice the training scale: objects keep their size in pixels, there is just more room around them.
test_scale = (640, 640)
max_iters = 3000
batch_size = 8

# Cluster centres of the training boxes' sizes.
anchors = [
    [(11, 18), (18, 18), (20, 32)],  # P3/8
    [(28, 26), (34, 44), (52, 52)],  # P4/16
    [(54, 84), (88, 88), (124, 144)],  # P5/32
]

model = dict(
    bbox_head=dict(
        head_module=dict(num_classes=num_classes),
        prior_generator=dict(base_sizes=anchors),
        # The base's weight is meant for 80 classes.
        loss_cls=dict(loss_weight=0.5 * num_classes / 80),
    ),
    test_cfg=dict(
        multi_label=False,
        nms_pre=1000,
        score_thr=0.01,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)

train_pipeline = [
    dict(type='mmdet.LoadImageFromNDArray'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='YOLOv5RandomAffine',
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        max_translate_ratio=0.15,
        scaling_ratio_range=(0.6, 1.5),
        min_area_ratio=0.3,
        border_val=(114, 114, 114),
    ),
    dict(type='YOLOv5HSVRandomAug'),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'ori_shape', 'img_shape', 'flip', 'flip_direction'),
    ),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='YOLOv5KeepRatioResize', scale=test_scale),
    dict(type='LetterResize', scale=test_scale, allow_scale_up=False, pad_val=dict(img=114)),
    dict(type='LoadAnnotations', with_bbox=True, _scope_='mmdet'),
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'pad_param'),
    ),
]

# DemoSceneDataset lives in tools/demo_scenes and draws its pictures itself.
train_dataloader = dict(
    _delete_=True,
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='yolov5_collate'),
    dataset=dict(
        type='DemoSceneDataset',
        metainfo=metainfo,
        first_seed=0,
        count=2400,
        sizes=[train_scale],
        pipeline=train_pipeline,
    ),
)
# What the tool measures on, in place of the data set below.
held_out = dict(
    type='DemoSceneDataset',
    metainfo=metainfo,
    first_seed=1_000_000,
    count=200,
    sizes=[(640, 400), (480, 640), (640, 640)],
    test_mode=True,
)
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    # MMDetection's init_detector builds it for its colours, so it has to be of a type known everywhere.
    dataset=dict(metainfo=metainfo, data_root='', ann_file='', batch_shapes_cfg=None, pipeline=test_pipeline),
)
test_evaluator = dict(_delete_=True, type='mmdet.CocoMetric', metric='bbox', classwise=True)
val_dataloader = None
val_evaluator = None
val_cfg = None

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
warmup_iters = 100
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=warmup_iters,
        end=max_iters,
        T_max=max_iters - warmup_iters,
        eta_min=2e-5,
    ),
]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters)
default_hooks = dict(
    _delete_=True,
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        # A short run needs a short memory.
        momentum=0.002,
        gamma=400,
        update_buffers=True,
        priority=49,
    )
]
log_processor = dict(by_epoch=False)
tta_model = None
tta_pipeline = None
