"""Targets: what is explained of a model's answer. The names load on first use, for a spec is read before torch is.

:mod:`featmap.targets.every` registers those that come with featmap.
"""

from importlib import import_module

_EXPORTS = {
    'Chosen': 'featmap.targets.chosen',
    'Scene': 'featmap.targets.base',
    'Target': 'featmap.targets.base',
    'TargetSpec': 'featmap.targets.spec',
    'Trace': 'featmap.targets.trace',
    'Tracer': 'featmap.targets.tracer',
    'choose': 'featmap.targets.base',
    'measure_all': 'featmap.targets.together',
    'parse_target': 'featmap.targets.spec',
    'traced_layers': 'featmap.targets.tracer',
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
