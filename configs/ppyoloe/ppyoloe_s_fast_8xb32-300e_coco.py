_base_ = 'mmyolo::ppyoloe/ppyoloe_s_fast_8xb32-300e_coco.py'
