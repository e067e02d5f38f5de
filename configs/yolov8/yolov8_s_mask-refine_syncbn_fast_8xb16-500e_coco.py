_base_ = 'mmyolo::yolov8/yolov8_s_mask-refine_syncbn_fast_8xb16-500e_coco.py'
