"""Which part of an image made a model answer so: one method a file, each registered in EXPLAINERS."""

from featmap.explainers.agnostic import Agnostic
from featmap.explainers.eigengradcam import EigenGradCAM
from featmap.explainers.gradcam import GradCAM
from featmap.explainers.gradcam_plus_plus import GradCAMPlusPlus
from featmap.explainers.hirescam import HiResCAM
from featmap.explainers.layercam import LayerCAM
from featmap.explainers.odam import ODAM
from featmap.explainers.ssgradcam import SSGradCAM
from featmap.explainers.ssgradcam_plus_plus import SSGradCAMPlusPlus
from featmap.explainers.xgradcam import XGradCAM

__all__ = [
    'ODAM',
    'Agnostic',
    'EigenGradCAM',
    'GradCAM',
    'GradCAMPlusPlus',
    'HiResCAM',
    'LayerCAM',
    'SSGradCAM',
    'SSGradCAMPlusPlus',
    'XGradCAM',
]
