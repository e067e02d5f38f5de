_base_ = 'mmyolo::ppyoloe/ppyoloe_plus_m_fast_8xb8-80e_coco.py'
