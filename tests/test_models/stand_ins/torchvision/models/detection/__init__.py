from . import image_list, tiny

__all__ = ['image_list', 'tiny']
