"""What a network is given of an image, and where the image lies in it, for models without a config of OpenMMLab."""

from featmap.models.preprocessing.alone import InputAlone
from featmap.models.preprocessing.declared import RESIZES, Declared
from featmap.models.preprocessing.preprocessing import NetworkInput, Preprocessing
from featmap.models.preprocessing.ready import ReadyInput

__all__ = ['RESIZES', 'Declared', 'InputAlone', 'NetworkInput', 'Preprocessing', 'ReadyInput']
