"""Where in the input a forward's tensors look, by the arithmetic of the operations that made them."""

from featmap.tracing.trace import PlaceTrace

__all__ = ['PlaceTrace']
