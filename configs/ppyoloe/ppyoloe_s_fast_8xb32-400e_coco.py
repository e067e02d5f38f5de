_base_ = 'mmyolo::ppyoloe/ppyoloe_s_fast_8xb32-400e_coco.py'
