"""Sources of models, one a file. What they need beyond PyTorch is imported when a model is asked for."""

from featmap.models.sources import exported, memory, openmmlab, own, timm_models, torchvision_models

__all__ = ['exported', 'memory', 'openmmlab', 'own', 'timm_models', 'torchvision_models']
