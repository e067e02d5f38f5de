"""Which part of an image made a model answer so: one method a file, each registered in EXPLAINERS."""

from featmap.explainers.ablationcam import AblationCAM
from featmap.explainers.agnostic import Agnostic
from featmap.explainers.attention import Attention
from featmap.explainers.cam import CAM
from featmap.explainers.drise import DRise
from featmap.explainers.eigengradcam import EigenGradCAM
from featmap.explainers.generic_attention import GenericAttention
from featmap.explainers.gradcam import GradCAM
from featmap.explainers.gradcam_plus_plus import GradCAMPlusPlus
from featmap.explainers.hirescam import HiResCAM
from featmap.explainers.integrated_gradients import IntegratedGradients
from featmap.explainers.layercam import LayerCAM
from featmap.explainers.occlusion import Occlusion
from featmap.explainers.odam import ODAM
from featmap.explainers.scorecam import ScoreCAM
from featmap.explainers.smoothgrad import SmoothGrad
from featmap.explainers.ssgradcam import SSGradCAM
from featmap.explainers.ssgradcam_plus_plus import SSGradCAMPlusPlus
from featmap.explainers.xgradcam import XGradCAM

__all__ = [
    'CAM',
    'ODAM',
    'AblationCAM',
    'Agnostic',
    'Attention',
    'DRise',
    'EigenGradCAM',
    'GenericAttention',
    'GradCAM',
    'GradCAMPlusPlus',
    'HiResCAM',
    'IntegratedGradients',
    'LayerCAM',
    'Occlusion',
    'SSGradCAM',
    'SSGradCAMPlusPlus',
    'ScoreCAM',
    'SmoothGrad',
    'XGradCAM',
]
