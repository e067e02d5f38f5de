"""Reducers: (C, h, w) features to (K, h, w) planes. Importing this package registers them."""

from featmap.reducers.base import Chain, Reducer, build_reducer, reduce
from featmap.reducers.channels import AsImage, Channels, SelectMax, TopK
from featmap.reducers.factorization import NMF, KMeans
from featmap.reducers.pca import PCA, Eigen
from featmap.reducers.similarity import Similarity
from featmap.reducers.statistics import L2, MeanAbs, PixelMax, SqueezeMean, Std, Sum

__all__ = [
    'L2',
    'NMF',
    'PCA',
    'AsImage',
    'Chain',
    'Channels',
    'Eigen',
    'KMeans',
    'MeanAbs',
    'PixelMax',
    'Reducer',
    'SelectMax',
    'Similarity',
    'SqueezeMean',
    'Std',
    'Sum',
    'TopK',
    'build_reducer',
    'reduce',
]
