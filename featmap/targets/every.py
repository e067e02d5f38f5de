"""All targets that come with featmap, for who looks them up in the registry."""

from featmap.targets import boxes, classes, functions, missed, regions
from featmap.targets.base import BY_WORD

__all__ = ['BY_WORD', 'boxes', 'classes', 'functions', 'missed', 'regions']
