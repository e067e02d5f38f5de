_base_ = 'mmyolo::yolov5/yolov5_s-p6-v62_syncbn_fast_8xb16-300e_coco.py'
