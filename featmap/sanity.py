"""The sanity check of an explanation: is it still there when the model has learned nothing?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from featmap.asked import FLOOR
from featmap.errors import OptionError
from featmap.explainers.base import AskingExplainer, Explainer
from featmap.explaining import Explaining, explainer_of
from featmap.faithfulness.localisation import box_mask
from featmap.faithfulness.randomisation import LIMIT, Randomisation, cascade
from featmap.gradients import GradientRecorder, Kept, replaced
from featmap.models.protocol import AnyModel
from featmap.targets import Scene, TargetSpec, Tracer, choose, traced_layers


@dataclass(frozen=True)
class _Number:
    """Numbers of a layer's output, and what they weigh in a target."""

    module: nn.Module
    call: int
    path: str
    where: Tensor  # (n, d) indices
    weights: Tensor  # (n,)

    @classmethod
    def of(cls, kept: Kept, path: str, gradient: Tensor) -> _Number:
        where = (gradient.isfinite() & (gradient != 0)).nonzero()
        return cls(kept.target.module, kept.call, path, where, gradient[tuple(where.T)].detach())


def sanity_check(
    network: AnyModel,
    image: np.ndarray,
    spec: TargetSpec,
    method: str | Explainer,
    layers: Sequence[str] = (),
    fuse: str = 'mean',
    stages: Sequence[str] = (),
    seed: int = 0,
    limit: float = LIMIT,
) -> Randomisation:
    """Cascading parameter randomisation of one target's map, see :func:`featmap.faithfulness.randomisation.cascade`.

    Detections vanish with the weights. So the numbers of the head's raw output that the target is made of are found
    first, by its gradient, and their sum, as they weigh in it, is what is explained throughout: the raw prediction is
    tracked by its place, not by what is left after suppression. A class of a whole image is tracked by its number.

    The model is left exactly as it was.

    Args:
        network: The model.
        image: (H, W, 3) RGB uint8.
        spec: One target.
        method: A method with gradients; perturbation measures what is found, which no random network finds.
        layers: As for :class:`featmap.explaining.Explaining`, like ``fuse``.
        fuse: How the heats of several layers become one.
        stages: Modules in the order in which their weights become noise; by default the last defined first.
        seed: Of the noise.
        limit: The correlation from which on a map counts as the same.

    Raises:
        OptionError: for a method that cannot be checked so.
        TargetError: where there is no such target.
    """
    explainer = explainer_of(method)
    if isinstance(explainer, AskingExplainer) or not explainer.needs_graph:
        raise OptionError(f'the method {explainer.name} cannot be checked by random weights: expected one of gradients')
    if not layers and explainer.takes_layers:  # the same throughout
        layers = [item.layer for item in Explaining(network, spec, [explainer])(image).explanations[0].maps]
    with _Tracked(network, image, spec) as tracked:
        explaining = Explaining(network, tracked.spec, [explainer], layers, fuse, seed=seed)
        return cascade(
            lambda: explaining(image).explanations[0].heat, network.model, tracked.within, stages, seed, limit
        )


class _Tracked:
    """The same numbers of a model's output in each forward inside its ``with`` block.

    Attributes:
        within: (H, W) bool, the detection's box; None where it has none.
        spec: What to explain: a function of a detection's raw numbers; the number of a class; a class over a region.
    """

    def __init__(self, network: AnyModel, image: np.ndarray, spec: TargetSpec) -> None:
        self._model = network.model
        self._handles: list[RemovableHandle] = []
        self._calls: dict[int, int] = {}
        self._found: dict[tuple[int, int, str], Tensor] = {}
        raw_layers = network.raw_layers()
        batch = network.prepare([image])
        recorder = GradientRecorder(network.model, traced_layers(network.model, raw_layers))
        with torch.enable_grad():
            answers = network.respond(batch, recorder, FLOOR if spec.of_raw else None)
            assert answers is not None
            tracer = Tracer(raw_layers, recorder.kept, batch.input_shape)
            final = answers[0] if spec.of_raw else None
            scene = Scene(answers[0], batch.geometries[0], tracer, network.score_thr, final, gradients=bool(raw_layers))
            chosen = choose(spec, scene)
            if len(chosen) > 1:
                raise OptionError(f'{len(chosen)} targets to be checked by random weights: expected one')
            slopes = recorder.gradients(chosen[0].scalar)
        modules = [layer.module for layer in raw_layers]
        self._numbers = [
            number
            for each, gradients in zip(recorder.kept, slopes)
            if any(each.target.module is module for module in modules)
            for path, gradient in gradients.items()
            if len((number := _Number.of(each, path, gradient)).weights)
        ]
        recorder.clear()
        self.within = None if chosen[0].box is None else box_mask(chosen[0].box, image.shape[:2])
        self.spec = spec
        if self._numbers:
            self.spec = TargetSpec('function', function=self._value)
        elif spec.function is None:
            name = f'{chosen[0].class_index}' if chosen[0].class_index is not None and not spec.minus else spec.text
            self.spec = replace(spec, name='class', text=name, at=None, mask=chosen[0].region)

    def __enter__(self) -> _Tracked:
        self._handles = [self._model.register_forward_pre_hook(lambda *_: self._forget())]
        for module in {id(number.module): number.module for number in self._numbers}.values():
            self._handles.append(module.register_forward_hook(self._keep))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._forget()

    def _forget(self) -> None:
        self._calls, self._found = {}, {}

    def _keep(self, module: nn.Module, _: Any, output: Any) -> None:
        call = self._calls.get(id(module), 0)
        self._calls[id(module)] = call + 1

        def keep(path: str, value: Tensor) -> Tensor:
            self._found[id(module), call, path] = value
            return value

        replaced(output, keep)

    def _value(self, _: Any) -> Tensor:
        """The numbers of the last forward, as they weigh in the target."""
        parts = []
        for number in self._numbers:
            tensor = self._found[id(number.module), number.call, number.path]
            parts.append((tensor[tuple(number.where.T)] * number.weights.to(tensor)).sum())
        return torch.stack(parts).sum()
