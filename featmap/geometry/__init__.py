"""Where in the image a feature cell lies, and the warp that puts it there."""

from featmap.geometry.image import ImageGeometry
from featmap.geometry.measured import Measurement, measure
from featmap.geometry.places import Cells, Place
from featmap.geometry.strides import Offset, Stride, is_regular, nominal_stride
from featmap.geometry.view import View
from featmap.geometry.warp import Axis, Warp

__all__ = [
    'Axis',
    'Cells',
    'ImageGeometry',
    'Measurement',
    'Offset',
    'Place',
    'Stride',
    'View',
    'Warp',
    'is_regular',
    'measure',
    'nominal_stride',
]
