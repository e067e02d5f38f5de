"""The registries, children of MMEngine's: what is registered there is found here too, and the other way by scope."""

from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry

SCOPE = 'featmap'

VISUALIZERS = Registry('visualizer', parent=MMENGINE_VISUALIZERS, scope=SCOPE, locations=['featmap.visualizer'])
"""Visualizers: classes that draw the maps of one image."""

REDUCERS = Registry('reducer', scope=SCOPE, locations=['featmap.reducers'])
"""Reducers: (C, h, w) features to (K, h, w) planes. See :mod:`featmap.reducers.base`."""

MODEL_SOURCES = Registry('model source', scope=SCOPE, locations=['featmap.models.sources.every'])
"""Where models come from, by the prefix of their names, as in ``timm:resnet50``. See :mod:`featmap.models.source`."""

TARGETS = Registry('target', scope=SCOPE, locations=['featmap.targets.every'])
"""What is explained, by the word before the colon, as in ``box:0``. See :mod:`featmap.targets`."""

EXPLAINERS = Registry('explainer', scope=SCOPE, locations=['featmap.explainers'])
"""Methods that say which part of an image made a model answer so. See :mod:`featmap.explainers.base`."""
