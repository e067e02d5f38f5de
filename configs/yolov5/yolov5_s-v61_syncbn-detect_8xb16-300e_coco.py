_base_ = 'mmyolo::yolov5/yolov5_s-v61_syncbn-detect_8xb16-300e_coco.py'
