"""How a model is loaded, fed and asked for predictions. Only here are mmdet, mmyolo and mmcv imported."""
