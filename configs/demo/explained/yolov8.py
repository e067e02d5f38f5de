# ruff: noqa: C408  OpenMMLab's configs are written with dict()
# YOLOv8-n on the demo's drawn scenes: the model alone, and how tools/train_explained_detectors.py trains it.
_base_ = 'mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py'

num_classes = 8

model = dict(
    bbox_head=dict(
        head_module=dict(num_classes=num_classes),
        # The base's weight is meant for 80 classes.
        loss_cls=dict(loss_weight=0.5 * num_classes / 80),
    ),
    train_cfg=dict(assigner=dict(num_classes=num_classes)),
    test_cfg=dict(multi_label=False, nms_pre=1000, score_thr=0.01, max_per_img=100),
)

training = dict(scale=192, test_scale=320, batch_size=8, scenes=1600, max_iters=800, lr=2e-3)
