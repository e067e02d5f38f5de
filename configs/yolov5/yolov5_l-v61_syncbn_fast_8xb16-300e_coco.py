_base_ = 'mmyolo::yolov5/yolov5_l-v61_syncbn_fast_8xb16-300e_coco.py'
