_base_ = 'mmyolo::yolov7/yolov7_e2e-p6_syncbn_fast_8x16b-300e_coco.py'
