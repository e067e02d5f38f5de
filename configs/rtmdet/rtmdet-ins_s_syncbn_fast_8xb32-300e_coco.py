_base_ = 'mmyolo::rtmdet/rtmdet-ins_s_syncbn_fast_8xb32-300e_coco.py'
