_base_ = 'mmyolo::ppyoloe/ppyoloe_x_fast_8xb16-300e_coco.py'
