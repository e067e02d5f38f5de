"""How models are found, loaded, fed and asked for predictions. Only ``openmmlab`` imports mmdet, mmyolo and mmcv."""
