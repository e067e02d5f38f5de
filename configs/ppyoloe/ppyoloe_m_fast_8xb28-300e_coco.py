_base_ = 'mmyolo::ppyoloe/ppyoloe_m_fast_8xb28-300e_coco.py'
