_base_ = 'mmyolo::ppyoloe/ppyoloe_l_fast_8xb20-300e_coco.py'
