"""OpenMMLab models, built from a config. Only here are mmdet, mmyolo and mmcv imported."""
