_base_ = 'mmyolo::yolov6/yolov6_t_syncbn_fast_8xb32-400e_coco.py'
