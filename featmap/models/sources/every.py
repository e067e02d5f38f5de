"""All sources that come with featmap, for who looks them up in the registry."""

from featmap.models.sources import exported, hf, memory, openmmlab, own, timm_models, torchvision_models

__all__ = ['exported', 'hf', 'memory', 'openmmlab', 'own', 'timm_models', 'torchvision_models']
