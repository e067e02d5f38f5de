"""CAM, of networks that average a map over its cells and classify the mean by one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from featmap.answers import Answers
from featmap.errors import LayerError
from featmap.explainers.base import AskingExplainer, Heat
from featmap.explainers.layer_maps import LayerMaps
from featmap.layers import Target, resolve
from featmap.registry import EXPLAINERS
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.asked import Asked

_NEAR = 1e-4  # of the largest value: how near means come to one another that were added up in another order
_ROUNDINGS = 8  # of half precision, alike


@EXPLAINERS.register_module('cam')
class CAM(AskingExplainer):
    """Channels weighted as the class weights their means: Σ_c w_k,c A_c, where logit_k = Σ_c w_k,c mean(A_c) + b_k.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. That the network is one of this
    kind is seen from a forward: a linear layer puts out the class scores, and what goes into it is the mean of a map.
    On that map Grad-CAM of a logit is the same, but for a factor.
    """

    name = 'cam'
    group = 'channel-weighted gradient'
    needs_graph = False

    def explain(self, asked: Asked, chosen: Sequence[Any], layers: Sequence[Any] = ()) -> list[list[Heat]]:
        """For each target one heat for each of the layers; without layers, on the map that the network averages."""
        head = find_head(asked)
        maps = LayerMaps(asked, layers or head.averaged(), self.name)
        for item in maps.maps:
            if not head.takes(item.features.flatten(1).mean(dim=1)):
                raise LayerError(
                    f'cam: what goes into {head.name} is not the mean of {item.target.name}{item.path}{head.hint}'
                )
        heats = []
        for each in chosen:
            weights = coefficients(each, head.answers) @ head.weight
            heats.append([replace(maps.heat(item, weights), note=f'weights of {head.name}') for item in maps.maps])
        return heats


@dataclass(frozen=True, eq=False)
class Head:
    """The linear layer that puts out the class scores.

    Attributes:
        name: Its name.
        module: The layer.
        pooled: (C,) what went into it.
        answers: What the model answered.
        means: The mean over the cells of what other layers put out, in the order in which they returned.
    """

    name: str
    module: nn.Linear
    pooled: Tensor = field(repr=False)
    answers: Answers
    model: nn.Module = field(repr=False)
    means: Sequence[tuple[str, Tensor]] = field(default=(), repr=False)

    @property
    def weight(self) -> Tensor:
        """(K, C) float32."""
        return self.module.weight.detach().float()

    def takes(self, mean: Tensor) -> bool:
        """Whether it was given this mean of a map, (C,)."""
        return _near(mean, self.pooled)

    @property
    def found(self) -> str:
        """The layer that returned last among those whose map's mean it was given; empty where there is none."""
        return next((name for name, mean in reversed(self.means) if self.takes(mean)), '')

    @property
    def hint(self) -> str:
        """The layer that would do, or the method that needs none, for messages."""
        if self.found:
            return f': it is of {self.found} ({written("target_layers", [self.found])})'
        return f'; {written("method", ["gradcam"])} works on any layer'

    def averaged(self) -> list[Target]:
        """The layer whose map is averaged.

        Raises:
            LayerError: where there is none.
        """
        if not self.found:
            raise LayerError(
                f'cam needs a network that averages a map over its cells and classifies the mean: what goes into '
                f"{self.name} is the mean of no layer's map{self.hint}"
            )
        return resolve(self.model, [self.found])


class _Watch:
    """Around a forward: what goes into linear layers and comes out of them, and the means of maps."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []
        self.linears: list[tuple[str, nn.Linear, Tensor, Tensor]] = []
        self.means: list[tuple[str, Tensor]] = []

    def __enter__(self) -> _Watch:
        self.linears, self.means = [], []
        for name, module in self._model.named_modules():
            if name:
                self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, Tensor) or len(output) != 1:
                return
            if isinstance(module, nn.Linear) and output.ndim == 2 and inputs:
                self.linears.append((name, module, inputs[0].detach()[0].clone(), output.detach()[0].clone()))
            self.means.extend((name, mean) for mean in _means(output.detach()[0]))

        return hook


def _means(output: Tensor) -> Iterator[Tensor]:
    """The means over the cells of a map (C, h, w) or (h, w, C), or of tokens (L, C), where there are several."""
    if not output.is_floating_point():
        return
    if output.ndim == 3 and output[0].numel() > 1:
        yield output.mean(dim=(1, 2), dtype=torch.float32)
    if output.ndim in (2, 3) and output[..., 0].numel() > 1:
        yield output.flatten(0, -2).mean(dim=0, dtype=torch.float32)


def _near(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    reach = max(_NEAR, *(_ROUNDINGS * torch.finfo(each.dtype).eps for each in (first, second)))
    first, second = first.float(), second.float()
    return bool((first - second).abs().max() <= reach * second.abs().max())


def find_head(asked: Asked) -> Head:
    """The linear layer that puts out the class scores of the image.

    Raises:
        LayerError: where there is none.
    """
    model = asked.network.model
    watch = _Watch(model)
    with torch.no_grad():
        batch = asked.batch.repeated(asked.batch.inputs[:1].clone())  # the forward may write into it
        answers = asked.network.respond(batch, watch)
    logits = answers[0].logits if answers and answers[0].kind == 'classes' else None
    if answers is None or logits is None:
        raise LayerError(
            f'cam is about classifiers that end in one linear layer, and {type(model).__name__} gives no classes of a '
            f'whole image; {written("method", ["layercam"])} works on any model'
        )
    for name, module, pooled, scores in reversed(watch.linears):
        if _near(scores, logits.detach()):
            return Head(name, module, pooled, answers[0], model, watch.means)
    raise LayerError(
        f'cam needs a network that ends in one linear layer: the class scores of {type(model).__name__} come out of '
        f'none of its {len(watch.linears)}; {written("method", ["gradcam"])} works on any layer'
    )


def coefficients(chosen: Any, answers: Answers) -> Tensor:
    """How much each class score counts in what is explained, (K,): 1, and -1 of the class that it is held against."""
    assert answers.logits is not None
    logits = answers.logits.detach().float().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(chosen.again(replace(answers, logits=logits)), logits)
    return found
