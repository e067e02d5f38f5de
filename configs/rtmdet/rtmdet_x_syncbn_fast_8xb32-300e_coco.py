_base_ = 'mmyolo::rtmdet/rtmdet_x_syncbn_fast_8xb32-300e_coco.py'
