"""``Explaining``: from an image to what speaks for its detections, classes or pixels, by one forward where possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from featmap.answers import Answers, RawLayer
from featmap.asked import FLOOR, Asked
from featmap.errors import ConfigError, LayerError, OptionError, nearest
from featmap.explained_layers import BEST, choose_layers
from featmap.explained_maps import explanations_of
from featmap.explainers.base import AskingExplainer, Explainer, Heat, MapExplainer
from featmap.explanation import Explanation
from featmap.geometry import ImageGeometry
from featmap.layers import Target, resolve
from featmap.models.protocol import AnyModel, Batch
from featmap.options.explain import FUSIONS
from featmap.placement import Placement
from featmap.registry import EXPLAINERS
from featmap.structures import Detections
from featmap.targets import Chosen, Scene, TargetSpec, Tracer, choose, traced_layers
from featmap.unfolded import Unfolder, UnfoldingRecorder
from featmap.wording import option as written


@dataclass(frozen=True)
class Explained:
    """All that was explained of one image.

    Attributes:
        explanations: One for each target and method, in that order; of layers that are left apart one each.
        detections: What the model found.
        geometry: How the image lies in the network input.
        chosen: The targets, whose ``measure`` is good for further forwards; their graph is gone.
        asked: What else can be asked of the model about the image.
    """

    explanations: tuple[Explanation, ...]
    detections: Detections | None
    geometry: ImageGeometry
    chosen: tuple[Chosen, ...]
    asked: Asked


class Explaining:
    """Explains targets of images.

    Args:
        network: The model.
        specs: What is explained, all of it found or all of it missed.
        methods: Names in EXPLAINERS, or explainers; by default what measured best for the kind of target.
        layers: Layer names, see :func:`featmap.layers.resolve`; by default what measured best.
        fuse: How the heats of several layers become one, see :data:`featmap.options.explain.FUSIONS`; by default as
            it measured best for the kind of target.
        seed: Of whatever is drawn by lot.
        batch_size: How many forms of an image go through the network at a time; default 8, on a GPU 32.
        arguments: Of explainers that are named, by name.
        extra_tokens: How many tokens stand before the cells, where the model is not to be asked.
        placement: Of the same model, where one has seen forwards.
        like: Explains the same model: what it has found out of it is not asked again.

    Attributes:
        layers: The layers that were named.

    Raises:
        OptionError: for a method or a fusion that does not exist, or a method that cannot explain what is asked.
        LayerError: for layers that do not.
    """

    def __init__(
        self,
        network: AnyModel,
        specs: TargetSpec | Sequence[TargetSpec],
        methods: Sequence[str | Explainer] = (),
        layers: Sequence[str | nn.Module] = (),
        fuse: str | None = None,
        *,
        seed: int = 0,
        batch_size: int | None = None,
        arguments: Mapping[str, Mapping[str, Any]] | None = None,
        extra_tokens: int | None = None,
        placement: Placement | None = None,
        like: Explaining | None = None,
    ) -> None:
        if fuse is not None and fuse not in FUSIONS:
            raise OptionError(f'{written("fuse", fuse)}: expected one of {", ".join(FUSIONS)}')
        self.network = network
        self.specs = (specs,) if isinstance(specs, TargetSpec) else tuple(specs)
        self._of_raw = any(spec.of_raw for spec in self.specs)
        if self._of_raw and not all(spec.of_raw for spec in self.specs):
            raise OptionError('what was found and what was missed come of two forwards: explain one after the other')
        self._fuse = fuse
        self.seed = seed
        self.batch_size = batch_size or (32 if network.device.type == 'cuda' else 8)
        self.extra_tokens = extra_tokens
        self._arguments = dict(arguments or {})
        self._methods = tuple(explainer_of(each, self._arguments) for each in methods)
        self._check_parts()
        self.layers = resolve(network.model, layers) if layers else []
        shared = like is not None and like.network is network and like.extra_tokens == extra_tokens
        self._placement: Placement = placement or (like._placement if like and shared else Placement(network.model))
        self._raw_layers: list[RawLayer] = like._raw_layers if like and shared else network.raw_layers()
        self._best_layers: dict[tuple[int, ...], list[Target]] = like._best_layers if like and shared else {}
        self._kind_known = 'boxes' if self._raw_layers else None

    @torch.inference_mode(False)  # in which nobody could turn gradients on
    def __call__(self, image: np.ndarray) -> Explained:
        """Explain the targets of one (H, W, 3) RGB uint8 image.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """
        batch = self.network.prepare([image])
        unspoilt = batch.repeated(batch.inputs.clone())  # the forward writes into what it is given, such as its graph
        methods = self._methods or (explainer_of(BEST[self._kind(batch)].method, self._arguments),)
        wanted = self._layers_for(methods, batch)
        # Without something to begin at there is no graph: methods that need none of these run forwards of their own.
        begins = wanted or self._raw_layers or any(each.begins_graph for each in methods)
        joined = bool(begins) and any(each.needs_graph for each in methods)
        recorder, unfolder = self._recorder(batch, wanted)
        with ExitStack() as stack:
            for forget in (recorder.clear, *(each.forget for each in methods)):
                stack.callback(forget)  # also where there is no such target: a graph is as large as the network
            stack.enter_context(torch.enable_grad() if joined else torch.no_grad())
            with ExitStack() as around:
                around.enter_context(self._placement.watched(batch.inputs, recorder.calls))
                for method in methods:
                    around.enter_context(method.watching(self.network, self._placement, batch))
                answers = self._answer(batch, recorder if joined else None, FLOOR if self._of_raw else None)
            self._kind_known = answers.kind
            final = self._quietly(image, None) if self._of_raw else answers
            scene = self._scene(image, answers, final, recorder, batch, joined)
            chosen = [each for spec in self.specs for each in choose(spec, scene)]
            asked = Asked(self.network, image, unspoilt, self.seed, self.batch_size, self.extra_tokens)
            found = list(self._explained(chosen, methods, wanted, recorder, unfolder, asked))
        return Explained(tuple(found), final.detections, batch.geometries[0], tuple(map(_bare, chosen)), asked)

    def _recorder(self, batch: Batch, wanted: list[Target]) -> tuple[UnfoldingRecorder, Unfolder]:
        unfolder = Unfolder(self._placement, batch.input_shape, self.extra_tokens)
        traced = traced_layers(self.network.model, self._raw_layers)
        finite = [layer.module for layer in self._raw_layers]
        return UnfoldingRecorder(self.network.model, wanted, traced, unfolder, finite), unfolder

    def _answer(self, batch: Batch, recorder: UnfoldingRecorder | None, raw: float | None) -> Answers:
        answers = self.network.respond(batch, recorder, raw)
        if answers is None:
            raise ConfigError(f'{type(self.network.model).__name__} gives no answer that could be explained')
        return answers[0]

    def _quietly(self, image: np.ndarray, raw: float | None) -> Answers:
        with torch.no_grad():
            return self._answer(self.network.prepare([image]), None, raw)

    def _scene(
        self,
        image: np.ndarray,
        answers: Answers,
        final: Answers,
        recorder: UnfoldingRecorder,
        batch: Batch,
        joined: bool,
    ) -> Scene:
        tracer = Tracer(self._raw_layers, recorder.kept, batch.input_shape) if joined else None
        return Scene(
            answers,
            batch.geometries[0],
            tracer,
            self.network.score_thr,
            final if self._of_raw else None,
            partial(self._quietly, image, FLOOR),
            joined,
            self.network.head_score_thr,
            tuple(layer.label for layer in self.layers),
        )

    def _kind(self, batch: Batch) -> str:
        """What the model answers; where nothing but an answer tells, it is asked once."""
        if self._kind_known is None:
            with torch.no_grad():
                self._kind_known = self._answer(batch.repeated(batch.inputs[:1].clone()), None, None).kind
        return self._kind_known

    def _check_parts(self) -> None:
        part = next((spec.part for spec in self.specs if spec.part != 'score'), None)
        blind = next((each.name for each in self._methods if not each.takes_parts), None)
        if part is not None and blind is not None:
            raise OptionError(
                f'{written("explain_part", part)}: the method {blind} asks for the score, whatever the part is; '
                f'{written("method", ["layercam"])} explains a part by its gradient'
            )

    @property
    def fuse(self) -> str:
        """How heats become one."""
        return self._fuse or BEST[self._kind_known or ''].fuse

    def _layers_for(self, methods: Sequence[Explainer], batch: Batch) -> list[Target]:
        """The layers that the methods work on."""
        if self.layers or not any(each.takes_layers for each in methods):
            return self.layers
        strides = BEST[self._kind(batch)].strides
        if strides not in self._best_layers:
            names = choose_layers(self.network, strides, self.extra_tokens)
            self._best_layers[strides] = resolve(self.network.model, names)
        return self._best_layers[strides]

    def _explained(
        self,
        chosen: Sequence[Chosen],
        methods: Sequence[Explainer],
        wanted: list[Target],
        recorder: UnfoldingRecorder,
        unfolder: Unfolder,
        asked: Asked,
    ) -> Iterator[Explanation]:
        parts = [part for each in chosen for part in (each.parts or (each,))]
        heats: dict[tuple[int, int], list[Heat]] = {}
        for number, method in enumerate(methods):
            if isinstance(method, AskingExplainer):
                layers = wanted if method.takes_layers else self.layers
                for part, found in zip(parts, method.explain(asked, parts, layers)):
                    heats[id(part), number] = found
        by_map = [(number, each) for number, each in enumerate(methods) if isinstance(each, MapExplainer)]
        for part in parts if by_map else ():
            slopes = recorder.gradients(part.scalar, wanted)
            maps = [
                item
                for kept, gradients in zip(recorder.kept, slopes)
                if kept.target in wanted
                for item in unfolder.maps(kept, gradients)
            ]
            if not maps:
                raise LayerError(_independent(part, wanted, unfolder.refused))
            for number, method in by_map:
                heats[id(part), number] = [
                    Heat(
                        method.heat(item.features, item.gradient),
                        item.cells,
                        item.target.name,
                        tuple(item.features.shape),  # type: ignore[arg-type]
                        path=item.path,
                        call=item.call,
                        calls=recorder.calls(item.target),
                        tokens=item.tokens,
                    )
                    for item in maps
                ]
        note = 'random weights' if self.network.random_weights else ''
        for each in chosen:
            for number, method in enumerate(methods):
                of_parts = [heats[id(part), number] for part in (each.parts or (each,))]
                yield from explanations_of(each, method, of_parts, asked.geometry, self.fuse, note)


def explainer_of(method: str | Explainer, arguments: Mapping[str, Mapping[str, Any]] | None = None) -> Explainer:
    """An explainer by its name in EXPLAINERS.

    Raises:
        OptionError: where there is none of this name, or it takes no such arguments.
    """
    if isinstance(method, Explainer):
        return method
    kind = EXPLAINERS.get(method)
    if kind is None:
        names = ', '.join(nearest(method, EXPLAINERS.module_dict))
        raise OptionError(f'{written("method", [method])}: no method is called so; nearest: {names}')
    try:
        return kind(**(arguments or {}).get(method, {}))
    except TypeError as error:
        raise OptionError(f'the method {method}: {error}') from error


def _bare(chosen: Chosen) -> Chosen:
    """Without its graph."""
    return replace(chosen, scalar=chosen.scalar.detach(), parts=tuple(map(_bare, chosen.parts)), founds=())


def _independent(part: Chosen, wanted: Sequence[Target], refused: Mapping[str, str]) -> str:
    names = ', '.join(target.label for target in wanted)
    if refused and len(refused) == len(wanted):
        return '; '.join(refused.values())
    hint = f': it comes of {part.trace}' if part.trace else ''
    return f'{part.name} does not depend on {names}{hint}; {written("target_layers")} names layers on its way'
