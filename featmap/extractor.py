"""``MapExtractor``: from an image to the reduced maps of the wanted layers, by one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featmap.attention import Attended, BoxWatch, Rows, check_answers, handed_out, hint
from featmap.calibration import energy
from featmap.errors import DrawError, LayerError, MissingOpError, OptionError
from featmap.geometry import Cells, ImageGeometry, Query, Spot, check_query, spot_of
from featmap.layers import Target, resolve
from featmap.layouts import Map, check_extra_tokens, maps_of
from featmap.meaning import Meaning
from featmap.models.input_picture import InputPicture, InputPictures
from featmap.models.protocol import AnyModel, Batch
from featmap.placement import Mirrored, Placement
from featmap.recorder import ActivationRecorder
from featmap.reduced import Reduced, cell_weights
from featmap.reducers import Similarity, SqueezeMean, reduce
from featmap.reducers.base import AnyReducer, shows
from featmap.reducers.channels import check_names
from featmap.structures import Detections, FeatureMap
from featmap.wording import option as written


class MapExtractor:
    """Runs a model and reduces what the wanted layers put out.

    Args:
        network: The model.
        names: Layer names, see :func:`featmap.layers.resolve`.
        reducer: What to make of each map.
        label: The reducer's name for labels.
        boxes: Whether to ask for detections; without them the forward ends at the last wanted layer.
        keep_features: Whether to keep the full (C, h, w) of each map too, on the host.
        calibrated: Whether maps are placed by what :meth:`mirror` measures, or else shows of the first image.
        query: X,Y in pixels of the original, which reducers that take a spot and attention weights are asked about, or
            the number of an object query; None for none.
        pca: What makes the picture of components that goes with each map, in the same forward; None for none.
        extra_tokens: How many tokens stand before the cells, where the model is not to be asked.
        over_input: Whether maps and detections are placed on the network input instead of the image.
    """

    def __init__(
        self,
        network: AnyModel,
        names: Sequence[str | nn.Module],
        reducer: AnyReducer,
        label: str,
        boxes: bool = True,
        keep_features: bool = False,
        calibrated: bool = False,
        query: Query | None = None,
        pca: AnyReducer | None = None,
        extra_tokens: int | None = None,
        over_input: bool = False,
    ) -> None:
        self.network = network
        self.reducer = reducer
        self.label = label
        self.boxes = boxes
        self.keep_features = keep_features
        self.calibrated = calibrated
        self.query = query
        self._pca = pca
        self.extra_tokens = extra_tokens
        self._pictures = InputPictures(network) if over_input else None
        self.picture: InputPicture | None = None  # of the last image, where that is what maps lie over
        self.targets: list[Target] = resolve(network.model, names)
        self._meanings = network.meanings()
        heads = [self._meanings.head(target.module) for target in self.targets]
        check_names(getattr(reducer, 'names', ()), [head for head in heads if head is not None])
        # Where an object query is found by its box, the forward has to come to the boxes.
        by_box = isinstance(query, tuple) and any('decoder' in target.name.split('.') for target in self.targets)
        self._boxes = BoxWatch(network.model) if by_box else None
        self._recorder = self._recording(self._reduce, stop_early=not boxes and not by_box)
        self._scout = self._recording(self._observe, stop_early=True)
        self._quick = self._recording(self._reduce, stop_early=not by_box)
        self._batch: Batch | None = None
        self.placement = Placement(network.model)
        self._refused: dict[str, str] = {}

    def _recording(self, consume: Callable[[Target, Any], Any], stop_early: bool) -> ActivationRecorder:
        # Not strict: a layer that never ran is refused like one that puts out no map, and the others are drawn.
        return ActivationRecorder(self.network.model, self.targets, consume, stop_early, strict=False)

    @property
    def refused(self) -> tuple[str, ...]:
        """Which of several layers put out no map of the last image, each with the reason."""
        return tuple(self._refused.values())

    def extract(self, image: np.ndarray) -> tuple[tuple[FeatureMap, ...], Detections | None]:
        """The reduced maps of one (H, W, 3) RGB uint8 image, and its detections where they are wanted.

        Raises:
            FeatMapError: the one of :mod:`featmap.errors` that says what is wrong.
        """
        found = self._run(image, self._recorder)
        return found[0], found[1] if self.boxes else None

    def maps(self, image: np.ndarray) -> tuple[FeatureMap, ...]:
        """Only the reduced maps, without the part of the forward that they do not need."""
        return self._run(image, self._quick)[0]

    def observe(self, image: np.ndarray) -> None:
        """Show the layers' output on an image to a reducer that is fitted on a whole run."""
        self._run(image, self._scout)

    def mirror(self, image: np.ndarray) -> None:
        """Compare what an image and its two mirror images show, for ``placement.calibrate``.

        Three forwards, which end at the last wanted layer. See :mod:`featmap.calibration`.
        """
        _check_image(image)
        batch = self.network.prepare([image], contiguous=True, over_input=self._pictures is not None)
        self.placement.compare(*(self._energies(batch, dimension) for dimension in (None, -1, -2)))

    def _energies(self, batch: Batch, dimension: int | None) -> Mirrored:
        """What the layers answer to the input, or to it mirrored along a dimension, mirrored back."""
        found: Mirrored = {}
        geometry, (height, width) = batch.geometries[0], batch.input_shape

        def measure(target: Target, output: Any) -> None:
            for item, features, _, cells in self._maps_in(target, output, attention=False):
                rows, columns = features.shape[1:]
                (sy, sx), (oy, ox) = cells.stride, cells.offset
                features = features if dimension is None else features.flip(dimension)
                inside = geometry.content_cells((rows, columns), cells.stride, cells.offset)
                plane = energy(features[:, inside[0], inside[1]].float().cpu().numpy())
                slack = (rows - height / sy + 2 * oy, columns - width / sx + 2 * ox)
                found[target, recorder.calls(target) - 1, item.path] = (plane, slack)

        recorder = ActivationRecorder(self.network.model, self.targets, measure, stop_early=True)
        # A copy in any case: a forward may write into its input.
        inputs = batch.inputs.clone() if dimension is None else batch.inputs.flip(dimension)
        self._batch = replace(batch, inputs=inputs)
        try:
            with self.placement.watched(self._batch.inputs, recorder.calls):
                self.network.predict(self._batch, recorder)
        finally:
            self._batch = None
        return found

    def _run(self, image: np.ndarray, recorder: ActivationRecorder) -> tuple[tuple[FeatureMap, ...], Detections | None]:
        _check_image(image)
        if self.calibrated and not self.placement.calibrated:
            self.mirror(image)
            self.placement.calibrate()
        # A run that is repeated in another memory layout would show its maps twice.
        self._batch = self.network.prepare([image], recorder is self._scout, self._pictures is not None)
        self.picture = self._pictures.of(image, self._batch) if self._pictures and recorder is self._recorder else None
        self._refused = {}
        if isinstance(self.query, tuple):
            check_query(self._batch.geometries[0], self.query)
        try:
            with self._open(self._batch, recorder):
                detections = self.network.predict(self._batch, recorder)
        except MissingOpError as error:
            # Of use only where the op is missing after the last wanted layer.
            if recorder.stop_early or not all(recorder.calls(target) for target in self.targets):
                raise
            raise MissingOpError(
                f'{error}; {written("boxes", False)} draws backbone and neck without the head'
            ) from error
        else:
            maps = tuple(self._feature_maps(recorder, self._batch.geometries[0]))
            for target, reason in recorder.never_ran():
                self._refused[target.label] = reason
            if not maps and recorder is not self._scout:
                if self._refused:
                    raise LayerError('; '.join(self._refused.values()))
                names = ', '.join(target.name for target in self.targets[:3])
                raise LayerError(
                    f'none of the {len(self.targets)} layers that the pattern matches ({names}, …) puts out a map; '
                    'match deeper ones, such as neck.*.* or neck.type:Conv2d'
                )
            check_extra_tokens(self.extra_tokens, maps)
            if not getattr(self.reducer, 'takes_spot', False):
                check_answers(self.query, maps)
            return maps, detections[0] if detections else None
        finally:
            self._batch = None

    def _open(self, batch: Batch, recorder: ActivationRecorder) -> AbstractContextManager[Any]:
        """What has to be in place around a forward."""
        with ExitStack() as stack:
            stack.enter_context(self.placement.watched(batch.inputs, recorder.calls))
            stack.enter_context(handed_out(self.network.model, self.targets, self.query is not None))
            if self._boxes is not None:
                stack.enter_context(self._boxes)
            return stack.pop_all()

    def _reduce(self, target: Target, output: Any) -> list[Reduced | Callable[[], Reduced]]:
        """Inside the hook: unfold and reduce on the device, so that nothing C×h×w is kept.

        What waits for boxes is a matrix of attention, and a call that reduces the row that they choose.
        """
        reduced: list[Reduced | Callable[[], Reduced]] = []
        for item, features, weights, cells in self._maps_in(target, output):
            if isinstance(item, Attended):
                meaning = item.meaning
                if item.matrix is not None:
                    reduced.append(partial(self._attended_by_box, target, item, weights, cells))
                    continue
            else:
                meaning = self._meanings.of(target.module, output, item.path, int(features.shape[0]))
            if shows(self.reducer, meaning):
                reduced.append(self._reduced(target, item, features, weights, cells, meaning))
        return reduced

    def _reduced(
        self, target: Target, item: Map, features: Tensor, weights: Tensor, cells: Cells, meaning: Meaning
    ) -> Reduced:
        assert self._batch is not None
        shape = (int(features.shape[0]), int(features.shape[1]), int(features.shape[2]))
        spot = None
        if isinstance(self.query, tuple):
            spot = spot_of(self._batch.geometries[0], self.query, shape[1:], cells)
        reducer, label = self.reducer, self.label
        names: tuple[str, ...] = ()
        if isinstance(item, Attended) and isinstance(reducer, Similarity):
            reducer, label, names = SqueezeMean(), '', (item.heads,)  # they answer to the query as they are
        kept = features.clone() if self.keep_features else None
        try:
            reduction = reduce(reducer, features, weights, meaning, spot)
            pca = None if self._pca is None else reduce(self._pca, features, weights, meaning)
        except (OptionError, DrawError) as error:
            raise type(error)(f'{target.name}{item.path}: {error}') from error
        answers = isinstance(item, Attended) or getattr(reducer, 'takes_spot', False)
        query = spot.position if spot is not None and answers else None
        reduction = replace(reduction, names=names or reduction.names)
        about = item.path, item.tokens, meaning.bare()
        return Reduced(*about, reduction, shape, features.dtype, cells, label, query, pca, kept)

    def _attended_by_box(self, target: Target, item: Attended, weights: Tensor, cells: Cells) -> Reduced:
        """Once the forward is over: what the object query attends to whose box holds the pixel."""
        assert self._batch is not None
        assert self._boxes is not None
        assert isinstance(self.query, tuple)
        geometry = None if self._pictures is not None else self._batch.geometries[0]
        chosen = self._boxes.chosen(item, self.query, geometry)
        return self._reduced(target, chosen, chosen.features[0], weights, cells, chosen.meaning)

    def _observe(self, target: Target, output: Any) -> list[Reduced]:
        for item, features, weights, _ in self._maps_in(target, output):
            if not isinstance(item, Attended) or item.matrix is None:
                self.reducer.observe(features, weights)  # type: ignore[attr-defined]
        return []

    def _maps_in(
        self, target: Target, output: Any, attention: bool = True
    ) -> Iterator[tuple[Map, Tensor, Tensor, Cells]]:
        assert self._batch is not None
        geometry = self._batch.geometries[0]
        try:
            found = self._found(target, output, attention)
        except LayerError as error:
            if not target.optional:
                self._refused[target.label] = f'{error}{hint(target, str(error))}'
            return
        for item in found:
            cells = self.placement.cells(target, item)
            features = item.features[0].detach()
            # Under autocast a reducer would run in half precision; statistics are float32.
            with torch.autocast(features.device.type, enabled=False):
                # A copy: a reducer that writes to its weights must not spoil the next one's.
                weights = cell_weights(geometry, cells, tuple(features.shape[1:]), features.device).clone()
                yield item, features, weights, cells

    def _found(self, target: Target, output: Any, attention: bool) -> list[Map]:
        assert self._batch is not None
        batch, query = self._batch, self.query
        head = self._meanings.head(target.module)
        if head is not None and head.by_query:
            raise LayerError(f'{target.name} puts out one row per object query, which has no place in the image')
        layouts, extra = self.placement.layouts_of(target), self.extra_tokens

        def plain() -> list[Map]:
            return maps_of(output, batch.input_shape, 1, target.path, target.name, layouts, extra)

        def unfold(tokens: Tensor, path: str) -> list[Map]:
            known = partial(layouts, path)
            return maps_of(tokens, batch.input_shape, 1, (), 'it', lambda _, value: known(value), extra)

        def spot_in(item: Map) -> Spot:
            assert isinstance(query, tuple)
            shape = (int(item.features.shape[-2]), int(item.features.shape[-1]))
            return spot_of(batch.geometries[0], query, shape, self.placement.cells(target, item))

        if not attention:
            return plain()
        rows = Rows(self.network.model, target.name, query, unfold, spot_in)
        return rows.maps(output, target.path, batch.input_shape, plain)

    def _feature_maps(self, recorder: ActivationRecorder, geometry: ImageGeometry) -> Iterator[FeatureMap]:
        note = 'random weights' if self.network.random_weights else ''
        for record in recorder.records:
            for item in record.value:
                try:
                    reduced = item() if callable(item) else item
                except LayerError as error:
                    if not record.target.optional:
                        self._refused[record.target.label] = f'{record.target.name}: {error}'
                else:
                    yield reduced.feature_map(record, recorder.calls(record.target), geometry, note)


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise OptionError(f'expected an RGB image of shape (H, W, 3) and uint8, got {image.shape} of {image.dtype}')
