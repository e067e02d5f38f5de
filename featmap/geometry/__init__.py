"""Where in the image a feature cell lies, and the warp that puts it there."""

from featmap.geometry.image import ImageGeometry
from featmap.geometry.measured import Measurement, measure
from featmap.geometry.places import Cells, Place
from featmap.geometry.spot import Query, Spot, check_query, position_of, query_text, spot_of, written_query
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
    'Query',
    'Spot',
    'Stride',
    'View',
    'Warp',
    'check_query',
    'is_regular',
    'measure',
    'nominal_stride',
    'position_of',
    'query_text',
    'spot_of',
    'written_query',
]
