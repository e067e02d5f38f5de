_base_ = 'mmyolo::yolox/yolox_m_fast_8xb8-300e_coco.py'
