"""A stand-in for torchvision: tiny models, behind the functions by which torchvision is asked for its own."""

from . import models

__version__ = '0.20'
__all__ = ['models']
