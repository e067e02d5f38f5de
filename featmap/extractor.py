"""``MapExtractor``: from an image to the reduced maps of the wanted layers, by one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featmap.calibration import energy
from featmap.errors import DrawError, LayerError, MissingOpError, OptionError, nearest
from featmap.geometry import Cells, ImageGeometry, check_query, position_of, spot_of
from featmap.layers import Target, resolve
from featmap.layouts import Map, maps_of
from featmap.meaning import SCORE, Meaning
from featmap.models.protocol import AnyModel, Batch
from featmap.placement import Mirrored, Placement
from featmap.recorder import ActivationRecorder
from featmap.reducers import reduce
from featmap.reducers.base import AnyReducer, shows
from featmap.reducers.channels import reasons
from featmap.reducers.rounding import noise_of
from featmap.structures import Detections, FeatureMap, Reduction
from featmap.tokens import Tokens
from featmap.wording import option as written


@dataclass(frozen=True)
class _Reduced:
    """What a hook keeps of one map: where, what it means, planes, shape, type, cells; more where wanted."""

    path: str
    tokens: Tokens | None
    meaning: Meaning
    reduction: Reduction
    shape: tuple[int, int, int]
    dtype: torch.dtype
    cells: Cells
    pca: Reduction | None
    features: Tensor | None


class MapExtractor:
    """Runs a model and reduces what the wanted layers put out.

    Args:
        detector: The model.
        names: Layer names, see :func:`featmap.layers.resolve`.
        reducer: What to make of each map.
        label: The reducer's name for labels.
        boxes: Whether to ask for detections; without them the forward ends at the last wanted layer.
        keep_features: Whether to keep the full (C, h, w) of each map too, on the host.
        calibrated: Whether maps are placed by what :meth:`mirror` measures, or else shows of the first image.
        query: X,Y in pixels of the original, which reducers that take a spot are asked about; None for none.
        pca: What makes the picture of components that goes with each map, in the same forward; None for none.
        extra_tokens: How many tokens stand before the cells, where the model is not to be asked.
    """

    def __init__(
        self,
        detector: AnyModel,
        names: Sequence[str | nn.Module],
        reducer: AnyReducer,
        label: str,
        boxes: bool = True,
        keep_features: bool = False,
        calibrated: bool = False,
        query: tuple[float, float] | None = None,
        pca: AnyReducer | None = None,
        extra_tokens: int | None = None,
    ) -> None:
        self.detector = detector
        self.reducer = reducer
        self.label = label
        self.boxes = boxes
        self.keep_features = keep_features
        self.calibrated = calibrated
        self.query = query
        self._pca = pca
        self.extra_tokens = extra_tokens
        self.targets: list[Target] = resolve(detector.model, names)
        self._meanings = detector.meanings()
        self._check_names()
        self._recorder = self._recording(self._reduce, stop_early=not boxes)
        self._scout = self._recording(self._observe, stop_early=True)
        self._quick = self._recording(self._reduce, stop_early=True)
        self._batch: Batch | None = None
        self.placement = Placement(detector.model)
        self._refused: dict[str, str] = {}

    def _recording(self, consume: Callable[[Target, Any], Any], stop_early: bool) -> ActivationRecorder:
        # Not strict: a layer that never ran is refused like one that puts out no map, and the others are drawn.
        return ActivationRecorder(self.detector.model, self.targets, consume, stop_early, strict=False)

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
        batch = self.detector.prepare([image], contiguous=True)
        self.placement.compare(*(self._energies(batch, dimension) for dimension in (None, -1, -2)))

    def _energies(self, batch: Batch, dimension: int | None) -> Mirrored:
        """What the layers answer to the input, or to it mirrored along a dimension, mirrored back."""
        found: Mirrored = {}
        geometry, (height, width) = batch.geometries[0], batch.input_shape

        def measure(target: Target, output: Any) -> None:
            for item, features, _, cells in self._maps_in(target, output):
                rows, columns = features.shape[1:]
                (sy, sx), (oy, ox) = cells.stride, cells.offset
                features = features if dimension is None else features.flip(dimension)
                inside = geometry.content_cells((rows, columns), cells.stride, cells.offset)
                plane = energy(features[:, inside[0], inside[1]].float().cpu().numpy())
                slack = (rows - height / sy + 2 * oy, columns - width / sx + 2 * ox)
                found[target, recorder.calls(target) - 1, item.path] = (plane, slack)

        recorder = ActivationRecorder(self.detector.model, self.targets, measure, stop_early=True)
        self._batch = batch if dimension is None else replace(batch, inputs=batch.inputs.flip(dimension))
        try:
            with self.placement.watched(self._batch.inputs, recorder.calls):
                self.detector.predict(self._batch, recorder)
        finally:
            self._batch = None
        return found

    def _check_names(self) -> None:
        """Refuse class names that no target has, before an image costs anything."""
        wanted = getattr(self.reducer, 'names', ())
        heads = [head for target in self.targets if (head := self._meanings.head(target.module)) is not None]
        if not wanted or not heads:
            return  # where no target is a head the reducer says why
        known = list(dict.fromkeys(name for head in heads for name in head.names))
        for name in wanted:
            if name.removesuffix(SCORE) not in known and f':{name}' != SCORE:
                raise OptionError(
                    f'the head has no class {name.removesuffix(SCORE)!r}; nearest: {", ".join(nearest(name, known))}; '
                    f'it has {", ".join(known[:6])}{f", … ({len(known)} in all)" if len(known) > 6 else ""}'
                )

    def _run(self, image: np.ndarray, recorder: ActivationRecorder) -> tuple[tuple[FeatureMap, ...], Detections | None]:
        _check_image(image)
        if self.calibrated and not self.placement.calibrated:
            self.mirror(image)
            self.placement.calibrate()
        # A run that is repeated in another memory layout would show its maps twice.
        self._batch = self.detector.prepare([image], contiguous=recorder is self._scout)
        self._refused = {}
        if self.query is not None:
            check_query(self._batch.geometries[0], self.query)
        try:
            with self.placement.watched(self._batch.inputs, recorder.calls):
                detections = self.detector.predict(self._batch, recorder)
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
            return maps, detections[0] if detections else None
        finally:
            self._batch = None

    def _reduce(self, target: Target, output: Any) -> list[_Reduced]:
        """Inside the hook: unfold and reduce on the device, so that nothing C×h×w is kept."""
        reduced = []
        for item, features, weights, cells in self._maps_in(target, output):
            path, dtype = item.path, features.dtype
            shape = (int(features.shape[0]), int(features.shape[1]), int(features.shape[2]))
            meaning = self._meanings.of(target.module, output, path, shape[0])
            if not shows(self.reducer, meaning):
                continue
            kept = features.clone() if self.keep_features else None
            spot = None
            if self.query is not None and self._batch is not None:
                spot = spot_of(self._batch.geometries[0], self.query, shape[1:], cells)
            try:
                reduction = reduce(self.reducer, features, weights, meaning, spot)
                pca = None if self._pca is None else reduce(self._pca, features, weights, meaning)
            except (OptionError, DrawError) as error:
                raise type(error)(f'{target.name}{path}: {error}') from error
            reduced.append(_Reduced(path, item.tokens, meaning.bare(), reduction, shape, dtype, cells, pca, kept))
        return reduced

    def _observe(self, target: Target, output: Any) -> list[_Reduced]:
        for _, features, weights, _ in self._maps_in(target, output):
            self.reducer.observe(features, weights)  # type: ignore[attr-defined]
        return []

    def _maps_in(self, target: Target, output: Any) -> Iterator[tuple[Map, Tensor, Tensor, Cells]]:
        assert self._batch is not None
        geometry = self._batch.geometries[0]
        try:
            found = self._found(target, output)
        except LayerError as error:
            if not target.optional:
                self._refused[target.label] = str(error)
            return
        for item in found:
            cells = self.placement.cells(target, item)
            features = item.features[0].detach()
            # Under autocast a reducer would run in half precision; statistics are float32.
            with torch.autocast(features.device.type, enabled=False):
                # A copy: a reducer that writes to its weights must not spoil the next one's.
                weights = _weights(geometry, cells, tuple(features.shape[1:]), features.device).clone()
                yield item, features, weights, cells

    def _found(self, target: Target, output: Any) -> list[Map]:
        assert self._batch is not None
        head = self._meanings.head(target.module)
        if head is not None and head.by_query:
            raise LayerError(f'{target.name} puts out one row per object query, which has no place in the image')
        layouts = self.placement.layouts_of(target)
        shape = self._batch.input_shape
        return maps_of(output, shape, 1, target.path, target.name, layouts, self.extra_tokens)

    def _feature_maps(self, recorder: ActivationRecorder, geometry: ImageGeometry) -> Iterator[FeatureMap]:
        for record in recorder.records:
            for item in record.value:
                of_layer = {
                    'layer': record.target.name,
                    'shape': item.shape,
                    'stride': item.cells.stride,
                    'geometry': geometry,
                    'path': item.path,
                    'call': record.call,
                    'calls': recorder.calls(record.target),
                    'meaning': item.meaning.label,
                    'note': 'random weights' if self.detector.random_weights else '',
                    'offset': item.cells.offset,
                    'stride_known': item.cells.known,
                    'tokens': item.tokens,
                    'query': None if self.query is None else position_of(self.query),
                }
                yield FeatureMap(
                    **_shown(item, item.reduction, self.label),
                    **of_layer,
                    features=None if item.features is None else _to_numpy(item.features),
                    pca=None if item.pca is None else FeatureMap(**_shown(item, item.pca, 'pca'), **of_layer),
                )


def _shown(item: _Reduced, reduction: Reduction, label: str) -> dict[str, Any]:
    """What a reduction makes of a map, on the host: the fields of a FeatureMap."""
    channels = reduction.channels
    channels = tuple(channels.tolist()) if isinstance(channels, Tensor) else tuple(channels)
    values = reduction.values.cpu().numpy()
    return {
        'values': values,
        'reducer': label,
        'channels': channels,
        'kind': reduction.kind,
        'names': reduction.names or _described(reduction.kind, channels, item.meaning),
        'ranges': reduction.ranges,
        'why': reasons(reduction),
        'noise': noise_of(reduction, values, item.shape[0], item.dtype),
    }


def _described(kind: str, channels: tuple[int | None, ...], meaning: Meaning) -> tuple[str, ...]:
    """Channels of a head with what they stand for, where all planes are channels and that is known."""
    if kind != 'heat' or not meaning.attributes or None in channels:
        return ()
    return tuple(f'channel {channel} ({meaning.describe(channel)})' for channel in channels if channel is not None)


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise OptionError(f'expected an RGB image of shape (H, W, 3) and uint8, got {image.shape} of {image.dtype}')


@lru_cache(maxsize=64)
def _weights(geometry: ImageGeometry, cells: Cells, shape: tuple[int, int], device: torch.device) -> Tensor:
    """How much each cell counts, on the device; a copy for every map would make the host wait for the device."""
    return torch.from_numpy(geometry.weights(shape, cells.stride, cells.offset)).to(device)


def _to_numpy(features: Tensor) -> np.ndarray:
    """To the host; bfloat16, which NumPy does not have, as float32."""
    return (features.float() if features.dtype == torch.bfloat16 else features).cpu().numpy()
