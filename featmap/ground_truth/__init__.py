"""What images are labelled with, read from the formats that people have: COCO, YOLO, Pascal VOC, LabelMe."""

from featmap.ground_truth.opening import open_ground_truth
from featmap.ground_truth.source import TruthSource

__all__ = ['TruthSource', 'open_ground_truth']
