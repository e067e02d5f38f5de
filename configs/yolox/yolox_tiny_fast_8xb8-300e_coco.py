_base_ = 'mmyolo::yolox/yolox_tiny_fast_8xb8-300e_coco.py'
