_base_ = 'mmyolo::yolox/yolox_tiny_fast_8xb32-300e-rtmdet-hyp_coco.py'
