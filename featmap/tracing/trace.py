"""``PlaceTrace``: where in the input the cells of each tensor look, by the operations that made it in one forward.

Sizes alone do not tell: 10 cells of 300 pixels are a stride of 30 or of 32. Kernel, stride and padding of what ran do.
Every operation of PyTorch hands the place of its input on to its output, changed as its arithmetic says, through
residuals, pyramids and tokens alike. What it does not know, such as a compiled operation of an extension, ends the
trail, and the next rooms fall back to what other maps of the same size say, and then to the sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from featmap.geometry import Place, Stride
from featmap.layouts import EXTRA_TOKENS
from featmap.tracing.rules import JOINS, RULES, grid_of, on_grid, passed_on, place_of, put, tensors_in, windowed


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
        put(self._inputs, Place.of_input((self._inputs.shape[-2], self._inputs.shape[-1])))
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
        if isinstance(result, (Tensor, tuple, list)):
            self._hand_on(func, args, kwargs, result)
        return result

    def place(self, features: Tensor) -> Place | None:
        """Where the cells of a map (N, C, h, w) look, which the forward made or which is a view of what it made."""
        return on_grid(features)

    def grid(self, tokens: Tensor) -> tuple[int, int] | None:
        """The (h, w) that tokens (N, L, C) or (L, N, C) come from; extra ones may stand before them."""
        place = place_of(tokens)
        fits = place and any(tokens.shape[k] - place.grid[0] * place.grid[1] in EXTRA_TOKENS for k in (0, 1))
        return place.grid if place and fits else None

    def stride(self, features: Tensor) -> Stride | None:
        """The stride of a map (N, C, h, w): that of its place, else the only one among maps of its size so far."""
        place = self.place(features)
        if place:
            return place.stride
        found = self._strides.get(grid_of(features), set())
        return next(iter(found)) if len(found) == 1 else None

    def _hand_on(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        tensors = list(tensors_in((args, kwargs)))
        places = [place for place in map(place_of, tensors) if place]
        if not places:
            return
        rule = RULES.get(getattr(func, '__name__', ''))
        for output in tensors_in(result):
            made = rule(args, kwargs, output) if rule else NotImplemented
            if made is NotImplemented:
                joins = getattr(func, '__name__', '') in JOINS
                made = passed_on(places, output.shape, self._inputs.shape[0], joins)
            elif made is not None:
                self._strides.setdefault(made.grid, set()).add(made.stride)
            put(output, made)

    def _convolved(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A convolution of an extension, whose inside is not seen."""
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor) and output.ndim == 4:
            given = {name: getattr(module, name) for name in ('kernel_size', 'stride', 'padding', 'dilation')}
            place = windowed(inputs[0], output, **given)
            put(output, place)


def _is_foreign_convolution(module: nn.Module) -> bool:
    """Such as the deformable ones of MMCV and torchvision: a class that is not PyTorch's."""
    settings = [getattr(module, name, None) for name in ('kernel_size', 'stride', 'padding', 'dilation')]
    weight = module._parameters.get('weight')  # blocks show the settings of a convolution within, but have no weight
    known = weight is not None and weight.ndim == 4 and all(isinstance(each, (int, tuple)) for each in settings)
    return known and not isinstance(module, nn.modules.conv._ConvNd)
