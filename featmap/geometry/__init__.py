"""Where in the image a feature cell lies, and the warp that puts it there."""

from featmap.geometry.image import ImageGeometry
from featmap.geometry.strides import Stride, is_regular, nominal_stride
from featmap.geometry.view import View
from featmap.geometry.warp import Axis, Warp

__all__ = ['Axis', 'ImageGeometry', 'Stride', 'View', 'Warp', 'is_regular', 'nominal_stride']
