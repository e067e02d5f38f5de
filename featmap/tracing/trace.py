"""``PlaceTrace``: where in the input the cells of each tensor look, by the operations that made it in one forward.

Sizes alone do not tell: 10 cells of 300 pixels are a stride of 30 or of 32. Kernel, stride and padding of what ran do.
Every operation of PyTorch hands the place of its input on to its output, changed as its arithmetic says, through
residuals, pyramids and tokens alike. What it does not know, such as a compiled operation of an extension, ends the
trail, and the next rooms fall back to what other maps of the same size say, and then to the sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from featmap.geometry import Place, Stride
from featmap.layouts import EXTRA_TOKENS, Grid, Layout
from featmap.tracing.axes import on_axes, read
from featmap.tracing.follow import FIRST_ONLY, follow
from featmap.tracing.rules import (
    JOINS,
    RULES,
    axes_after,
    axes_of,
    grid_of,
    on_grid,
    passed_on,
    place_of,
    put,
    tensors_in,
    windowed,
)
from featmap.tracing.turns import arithmetic, put_turn, turn_after, turn_of, written_into


class PlaceTrace(TorchFunctionMode):
    """Follows the forward inside its ``with`` block, and leaves no hook behind.

    It costs some microseconds an operation, so one forward is followed for each size of the input.

    Args:
        model: The model.
        inputs: (N, C, H, W), the network input.
    """

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        self._model = model
        self._inputs = inputs
        self._handles: list[RemovableHandle] = []
        self._strides: dict[tuple[int, int], set[Stride]] = {}

    def __enter__(self) -> PlaceTrace:
        ndim = self._inputs.ndim
        place = Place.of_input((self._inputs.shape[-2], self._inputs.shape[-1]))
        put(self._inputs, place, on_axes(self._inputs.shape, ndim - 2, ndim - 1))
        for module in self._model.modules():
            if _is_foreign_convolution(module):
                self._handles.append(module.register_forward_hook(self._convolved))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        put(self._inputs, None)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if getattr(func, '__name__', '') == '__setitem__':
            written_into(args[0], args[2])
        if getattr(func, '__name__', '') == '__iter__':  # q, k, v = qkv
            result = list(result)
            self._hand_on(func, args, kwargs, result)
            return iter(result)
        if isinstance(result, (Tensor, tuple, list)):
            self._hand_on(func, args, kwargs, result)
        return result

    def place(self, features: Tensor) -> Place | None:
        """Where the cells of a map (N, C, h, w) look, which the forward made or which is a view of what it made."""
        return on_grid(features)

    def layout(self, value: Tensor) -> Layout | None:
        """How the cells of a map stand in a tensor, or which of its tokens (N, L, C) or (L, N, C) are cells."""
        place = place_of(value)
        layout = read(axes_of(value), place, value.shape)
        if reason := turn_of(value).reason:
            return Layout(windows=layout.windows if layout else None, turned=reason)
        if layout is not None or place is None or value.ndim != 3 or axes_of(value) is not None:
            return layout
        # By the numbers: extra tokens stand before the cells.
        for axis in (1, 0):
            extra = value.shape[axis] - place.grid[0] * place.grid[1]
            if extra in EXTRA_TOKENS:
                return Layout((axis,), (Grid(place.grid, extra),))
        return None

    def stride(self, features: Tensor) -> Stride | None:
        """The stride of a map (N, C, h, w): that of its place, else the only one among maps of its size so far."""
        place = self.place(features)
        if place:
            return place.stride
        found = self._strides.get(grid_of(features), set())
        return next(iter(found)) if len(found) == 1 else None

    def _hand_on(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        # An operator that torch.export wrote down has its overload behind its name: conv2d.default.
        name = getattr(func, '__name__', '').partition('.')[0]
        given = args[:1] or kwargs.get('query', ()) if name in FIRST_ONLY else (args, kwargs)
        carried = [(tensor, axes_of(tensor), place_of(tensor)) for tensor in tensors_in(given)]
        sources = [source for source in carried if source[1] is not None or source[2] is not None]
        if not sources and not (name in FIRST_ONLY and any(map(axes_of, tensors_in((args[1:], kwargs))))):
            return
        rule, places = RULES.get(name), [place for _, _, place in sources if place]
        turn = turn_after(name, args, kwargs, (source for source, _, _ in sources))
        for number, output in enumerate(tensors_in(result)):
            put_turn(output, turn)
            made, axes = arithmetic(rule, name, args, kwargs, output) if rule and places else (NotImplemented, None)
            if made is NotImplemented and rule and places:
                made = rule(args, kwargs, output)
                axes = axes_after(name, args, kwargs, output, made) if isinstance(made, Place) else None
            if made is not NotImplemented:
                if made is not None:
                    self._strides.setdefault(made.grid, set()).add(made.stride)
                put(output, made, axes)
                continue
            axes, place = follow(name, func, args, kwargs, number, output, sources) or (None, None)
            if axes is None or (place is not None and any(other is not place for other in places)):
                made = passed_on(places, output.shape, self._inputs.shape[0], name in JOINS)
                # The same grid from several sources has the places of all.
                place = made if axes is None or (made is not None and place and made.grid == place.grid) else place
            put(output, place, axes)

    def _convolved(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A convolution of an extension, whose inside is not seen."""
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor) and output.ndim == 4:
            given = {name: getattr(module, name) for name in ('kernel_size', 'stride', 'padding', 'dilation')}
            place = windowed(inputs[0], output, **given)
            put(output, place, on_axes(output.shape, 2, 3) if place else None)


def _is_foreign_convolution(module: nn.Module) -> bool:
    """Such as the deformable ones of MMCV and torchvision: a class that is not PyTorch's."""
    if isinstance(module, torch.jit.ScriptModule):  # whose parameters are in no dict
        return False
    settings = [getattr(module, name, None) for name in ('kernel_size', 'stride', 'padding', 'dilation')]
    weight = module._parameters.get('weight')  # blocks show the settings of a convolution within, but have no weight
    known = weight is not None and weight.ndim == 4 and all(isinstance(each, (int, tuple)) for each in settings)
    return known and not isinstance(module, nn.modules.conv._ConvNd)
