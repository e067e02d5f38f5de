"""Sources of models, one a file. What they need beyond PyTorch is imported when a model is asked for."""

from featmap.models.sources import exported, hf, memory, openmmlab, own, timm_models, torchvision_models

__all__ = ['exported', 'hf', 'memory', 'openmmlab', 'own', 'timm_models', 'torchvision_models']
