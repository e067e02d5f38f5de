_base_ = 'mmyolo::ppyoloe/ppyoloe_plus_l_fast_8xb8-80e_coco.py'
