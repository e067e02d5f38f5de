_base_ = 'mmyolo::yolov5/yolov5u/yolov5u_l_syncbn_fast_8xb16-300e_coco.py'
