"""See what a model's layers respond to, drawn in the right place.

The names below load on first use, so that ``import featmap`` costs nothing.
"""

from importlib import import_module

from featmap.version import __version__

_EXPORTS = {
    'ActivationRecorder': 'featmap.recorder',
    'EXPLAINERS': 'featmap.registry',
    'Explanation': 'featmap.explanation',
    'FeatMapError': 'featmap.errors',
    'FeatMapInferencer': 'featmap.inferencer',
    'FeatMapVisualizer': 'featmap.visualizer',
    'FeatureMap': 'featmap.structures',
    'ImageGeometry': 'featmap.geometry',
    'MODEL_SOURCES': 'featmap.registry',
    'REDUCERS': 'featmap.registry',
    'TARGETS': 'featmap.registry',
    'VISUALIZERS': 'featmap.registry',
    'explain': 'featmap.visualizing',
    'load_maps': 'featmap.storage',
    'save_maps': 'featmap.storage',
    'visualize': 'featmap.visualizing',
}

__all__ = ['__version__', *_EXPORTS]


def __getattr__(name: str):
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__():
    return sorted(__all__)
