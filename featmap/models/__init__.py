"""How a model is found, loaded, fed and asked for predictions. Only in ``openmmlab`` are mmdet, mmyolo and mmcv imported."""
