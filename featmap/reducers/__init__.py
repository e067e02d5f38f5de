"""Reducers: (C, h, w) features to (K, h, w) planes. Importing this package registers them."""

from featmap.reducers.base import Reducer, build_reducer, reduce
from featmap.reducers.channels import AsImage, SelectMax, TopK
from featmap.reducers.statistics import SqueezeMean

__all__ = ['AsImage', 'Reducer', 'SelectMax', 'SqueezeMean', 'TopK', 'build_reducer', 'reduce']
