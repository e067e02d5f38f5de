"""Sources of models, one a file, each imported when a model of it is asked for, and its package when that is opened."""

MODULES = {
    'openmmlab': 'openmmlab',
    'timm': 'timm_models',
    'torchvision': 'torchvision_models',
    'hf': 'hf',
    'own': 'own',
    'memory': 'memory',
    'exported': 'exported',
}
"""Where the sources that come with featmap stand, by the prefix of their models' names."""
UNNAMED = ('openmmlab', 'own', 'memory', 'exported')
"""Those whose models are told by what is given, and not by a prefix."""
