"""``AttentionTape``: the attention that a forward computes, whatever modules and kernels it does so by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from featmap.attention.explicit import dot_product_attention, multi_head_attention, started
from featmap.attention.keys import ACROSS_NAMES, Keys, KeysOf, numbers_like, numbers_of
from featmap.attention.sampled import Samples, SamplesWatch, is_deformable
from featmap.errors import LayerError

_SOFTMAX = {'softmax', 'special_softmax', '_softmax'}
_SAME = {'dropout', 'to', 'type', 'type_as', 'float', 'half', 'bfloat16', 'double', 'contiguous', 'clone', 'view',
         'reshape', 'flatten', 'unflatten', 'squeeze', 'unsqueeze', '__getitem__', 'nan_to_num', 'expand'}  # fmt: skip
"""What may be done to weights before values are weighed by them."""
_PRODUCTS = {'matmul', '__matmul__', 'bmm', 'baddbmm', 'einsum'}


@dataclass(frozen=True, eq=False)
class Step:
    """One attention matrix of a forward.

    Attributes:
        layer: The innermost module that computed it.
        joined: The weights as they are on the graph, (heads, rows, keys) or (1, heads, rows, keys).
        keys: Where its keys stand in the image.
        windows: How many matrices there are beside one another, each of a window of the map; else 1.
    """

    layer: str
    joined: Tensor
    keys: Keys
    windows: int = 1

    def __len__(self) -> int:
        """How many rows."""
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and keys."""
        return int(self.joined.shape[-2]), int(self.joined.shape[-1])

    @property
    def across(self) -> bool:
        """Whether its rows are others than its keys: object queries that look at cells."""
        return self.shape[0] != self.shape[1] or is_across(self.layer)

    def heads_of(self, values: Tensor) -> Tensor:
        """(heads, rows, keys) of the weights, or of their gradient."""
        return values.reshape(-1, *self.shape)


@dataclass(frozen=True, eq=False)
class Sampling:
    """One call of deformable attention: its layer, what it sampled, and where the cells of its levels stand."""

    layer: str
    samples: Samples
    keys: Keys

    def __len__(self) -> int:
        """How many rows."""
        return len(self.samples.weights)

    @property
    def across(self) -> bool:
        """Whether its rows are object queries, and not the cells that it samples."""
        return len(self) != sum(h * w for h, w in self.samples.shapes) or is_across(self.layer)


def is_across(layer: str) -> bool:
    """Whether a layer's name says that its queries are others than its keys."""
    return any(word in part for part in layer.split('.') for word in ACROSS_NAMES)


class AttentionTape(TorchFunctionMode):
    """Takes down, inside its ``with`` block, every attention matrix that values are weighed by, on the graph.

    Fused kernels are computed step by step meanwhile, which changes what comes out by rounding only. Softmaxes are told
    to be attention by what is done to them: they are multiplied with values, over their last axis. It leaves no hook.

    Args:
        model: The model.
        keys_of: Says where keys stand in the image.
        strict: Whether a forward without attention is an error.
    """

    def __init__(self, model: nn.Module, keys_of: KeysOf, strict: bool = False) -> None:
        super().__init__()
        self._strict = strict
        self._model = model
        self._keys_of = keys_of
        self._handles: list[Any] = []
        self._names: list[str] = []
        self._calls: Counter[str] = Counter()
        self._open: dict[int, tuple[Tensor, tuple[str, Tensor]]] = {}
        self.taken: list[Step | Sampling] = []

    def __enter__(self) -> AttentionTape:
        self._begin()
        try:
            for name, module in self._model.named_modules():
                if not isinstance(module, torch.jit.ScriptModule):
                    self._attach(name, module)
        except BaseException:
            self._detach()
            raise
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._detach()
        self._open = {}
        if self._strict and not self.taken and error[0] is None:
            raise LayerError(
                f'{type(self._model).__name__} computes no softmax(q kᵀ) v and no deformable attention that could be '
                'seen: the methods attention and generic_attention are for transformers such as ViT and DETR'
            )

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.multi_head_attention_forward:
            returned, joined, tokens = multi_head_attention(tuple(args), kwargs)
            self._keep(self._layer, joined, lambda: numbers_like(tokens[..., :1]), len(tokens))
            return returned
        if func is F.scaled_dot_product_attention:
            output, joined = dot_product_attention(*args, **kwargs)
            key = args[1] if len(args) > 1 else kwargs['key']
            self._keep(self._layer, joined, lambda: numbers_like(_one_head(key)))
            return output
        result = func(*args, **kwargs)
        name = getattr(func, '__name__', '')
        if name in _SOFTMAX and isinstance(result, Tensor):
            self._softmaxed(result, args, kwargs)
        elif self._open and args:
            self._followed(name, args, result)
        return result

    @property
    def steps(self) -> list[Step]:
        """The matrices of the last forward, in the order in which they were used."""
        return [each for each in self.taken if isinstance(each, Step)]

    @property
    def samplings(self) -> list[Sampling]:
        """The calls of deformable attention in the last forward, in their order."""
        return [each for each in self.taken if isinstance(each, Sampling)]

    def _begin(self) -> None:
        """A forward, perhaps of an image whose first one did not come to its end."""
        self.taken = []
        self._names, self._open, self._calls = [], {}, Counter()

    @property
    def _layer(self) -> str:
        return self._names[-1] if self._names else ''

    def _softmaxed(self, result: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        dim = kwargs.get('dim', args[1] if len(args) > 1 else None)
        if result.ndim < 3 or dim not in (-1, result.ndim - 1):
            return
        self._open[id(result)] = result, (self._layer, started(result))

    def _followed(self, name: str, args: Sequence[Any], result: Any) -> None:
        """Whether values are weighed by an open softmax now, or it is only brought into form for that."""
        for number, given in enumerate(args):
            if id(given) not in self._open:
                continue
            made = self._open[id(given)][1]
            if name in _PRODUCTS and _weighs(name, args, number):
                self._open = {key: entry for key, entry in self._open.items() if entry[1] is not made}
                self._keep(*made, partial(numbers_of, made[1], made[0]))
            elif name in _SAME and number == 0 and isinstance(result, Tensor):
                self._open[id(result)] = result, made
            return

    def _keep(self, layer: str, joined: Tensor, numbers: Callable[[], Tensor], images: int = 1) -> None:
        """A matrix of the graph; of several images, or as many windows of one, where there are so many keys' tokens."""
        windows = images if joined.ndim == 3 else int(joined.shape[:-3].numel())
        if windows == 1:
            keys = self._keys_of(layer, self._calls[layer], numbers(), ())
        else:
            keys = Keys(layer, reason=f'{windows} windows')
        self.taken.append(Step(layer, joined, keys, windows))

    def _attach(self, name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, inputs: Any) -> None:
            if not name:
                self._begin()
            self._names.append(name)

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            while self._names and self._names.pop() != name:
                pass  # what was entered and left by an exception
            self._calls[name] += 1

        self._handles.append(module.register_forward_pre_hook(enter))
        if is_deformable(module):
            watch = SamplesWatch(name, module)
            self._handles.extend(watch.attach())

            def sampled(module: nn.Module, inputs: Any, output: Any) -> None:
                samples, values = watch.samples(output)
                keys = self._keys_of(name, self._calls[name], numbers_like(values[..., :1]), samples.shapes)
                self.taken.append(Sampling(name, samples, keys))

            self._handles.append(module.register_forward_hook(sampled))
        self._handles.append(module.register_forward_hook(leave))

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _one_head(key: Tensor) -> Tensor:
    """(1, n, 1) of keys (…, heads, n, C)."""
    return key.reshape(-1, *key.shape[-2:])[:1, :, :1] if key.ndim != 4 else key[:, 0, :, :1]


def _weighs(name: str, args: Sequence[Any], number: int) -> bool:
    """Whether a product sums over the last axis of one of its factors, against values (…, keys, C)."""
    if name != 'einsum':
        given = args[1] if name == 'baddbmm' and number == 1 else args[0]
        other = args[number + 1] if len(args) > number + 1 else None
        return given is args[number] and isinstance(other, Tensor) and other.ndim >= 3
    equation, operands = args[0], args[1:]
    if not isinstance(equation, str) or '->' not in equation:
        return False
    given, _, made = equation.replace(' ', '').partition('->')
    letters = given.split(',')
    own = letters[number - 1] if number - 1 < len(letters) else ''
    return bool(own) and len(operands) == 2 and own[-1] not in made and all(own[-1] in each for each in letters)
