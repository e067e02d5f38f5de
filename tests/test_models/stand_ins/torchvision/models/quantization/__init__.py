from .tiny import quantized_tiny_net

__all__ = ['quantized_tiny_net']
