from .tiny import tiny_fcn

__all__ = ['tiny_fcn']
