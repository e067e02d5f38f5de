_base_ = 'mmyolo::yolox/yolox_s_fast_8xb32-300e-rtmdet-hyp_coco.py'
