"""Where in the network input an image lies: what the pipeline says of it, held against what it does.

Metainfo is a claim. A pipeline of one resize and one pad writes it as it is, which is checked once; any other is
measured for each size of image, and the measurement counts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from featmap.errors import GeometryError
from featmap.geometry import ImageGeometry
from featmap.geometry.measured import agree, fit, measure
from featmap.geometry.probes import asymmetric_probe, probe_images
from featmap.models.openmmlab.image_place import ImagePlace
from featmap.models.openmmlab.pipeline import TestPipeline
from featmap.models.steadiness import is_steady, same_chance
from featmap.wording import option as written

# Transforms that are known to write down what they do, as long as one of a kind runs, in this order.
_RESIZE = {'Resize', 'FixScaleResize', 'FixShapeResize', 'ResizeShortestEdge'}
_LETTERBOX = (['YOLOv5KeepRatioResize', 'LetterResize'], ['LetterResize'])
_STACKS = {'featmap', 'mmcv', 'mmdet', 'mmengine', 'mmseg', 'mmyolo'}
# A step that is drawn by lot must not look steady by chance: of two ends that are equally likely, once in 2^15.
_REPEATS = {True: 15, False: 2}
# Pixels of the network input. What is known to be told rounds sizes to whole pixels; what just happens to be right does
# not have to be taken for more than it is.
_WITHIN = {True: 0.75, False: 0.25}
_LEAST_CHECKED = 16  # pixels; too few to tell a wrong claim from rounding


class Placement:
    """Finds where images lie.

    Args:
        pipeline: The test pipeline.
        network_input: From an (H, W, 3) RGB uint8 image to the input (C, h, w) that the network is given for it alone.
        preprocessor: What turns the pipeline's output into that, for its name.
    """

    def __init__(
        self, pipeline: TestPipeline, network_input: Callable[[np.ndarray], np.ndarray], preprocessor: Any = None
    ) -> None:
        self._pipeline = pipeline
        self._network_input = network_input
        self._preprocessor = preprocessor
        self._trusted = _is_plain(pipeline) and _is_of_a_stack(preprocessor)
        self._checked = False
        self._known: dict[tuple[int, int], ImageGeometry | str] = {}  # or why there is none

    def of(self, metainfo: Mapping[str, Any], image_shape: tuple[int, int], input_shape: tuple[int, int]) -> ImagePlace:
        """The place of an (H, W) image in a batch whose input has the height and width ``input_shape``.

        Raises:
            GeometryError: no scaling, shift, flip and crop lead from the image to the input, or another each time.
        """
        try:
            claimed = ImageGeometry.from_metainfo(metainfo, input_shape)
        except GeometryError:
            claimed, self._trusted = None, False
        if claimed and self._trusted and (self._checked or min(image_shape) < _LEAST_CHECKED):
            return ImagePlace.as_told(claimed)
        # Batches are filled up below and to the right, which moves nothing.
        measured = replace(self._measured(image_shape), input_shape=input_shape)
        told = claimed is not None and agree(claimed, measured, _WITHIN[self._trusted])
        self._trusted = self._checked = self._trusted and told
        return ImagePlace.as_told(claimed) if claimed and told else ImagePlace.as_measured(measured, metainfo)

    def _measured(self, image_shape: tuple[int, int]) -> ImageGeometry:
        if image_shape not in self._known:
            try:
                self._known[image_shape] = self._measure(image_shape)
            except GeometryError as error:
                self._known[image_shape] = str(error)  # not the error, whose traceback holds the images
                raise
        found = self._known[image_shape]
        if isinstance(found, str):
            raise GeometryError(found)
        return found

    def _measure(self, image_shape: tuple[int, int]) -> ImageGeometry:
        with same_chance() as drawn:
            try:
                geometry = measure(self._network_input, image_shape).geometry
                steady = self._trusted or is_steady(
                    self._network_input, asymmetric_probe(image_shape), _REPEATS[drawn()]
                )
            except GeometryError as error:
                raise GeometryError(f'{self._culprit(image_shape) or error}; {_way_out()}') from error
            if steady:
                return geometry
            name = self._culprit(image_shape) or f'the test pipeline {_RANDOM}'
        raise GeometryError(f'{name}; {_way_out()}')

    def _culprit(self, image_shape: tuple[int, int]) -> str | None:
        """The first transform after which the image cannot be placed any more, and why."""
        twin = self._pipeline.begin(asymmetric_probe(image_shape))
        probes = [self._pipeline.begin(probe) for probe in probe_images(image_shape)]
        for name, transform in self._pipeline.steps[:-1]:

            def picture(results: dict[str, Any], transform: Callable[..., Any] = transform) -> np.ndarray:
                return np.asarray(transform(copy.deepcopy(results))['img'])

            if not is_steady(picture, twin, _REPEATS[True]):
                return f'{name} {_RANDOM}'
            twin = transform(twin)
            probes = [transform(probe) for probe in probes]
            try:
                fit([np.asarray(probe['img']).transpose(2, 0, 1) for probe in probes], image_shape)
            except GeometryError as error:
                return f'{name} in the test pipeline: {error}'
        return None if self._preprocessor is None else f'{type(self._preprocessor).__name__} after the test pipeline'


_RANDOM = 'does something else to an image each time, so that a map cannot be laid over it'


def _way_out() -> str:
    return f'take it out of the test pipeline ({written("cfg_options")}), or use one that scales, flips, crops and pads'


def _is_plain(pipeline: TestPipeline) -> bool:
    """Whether nothing runs but one resize and one pad, of the kinds that write down what they do."""
    names = [name for name, _ in pipeline.steps[1:-1]]
    if not all(_is_of_a_stack(step) for _, step in pipeline.steps):
        return False
    if names in _LETTERBOX:
        return True
    if names and names[-1] == 'Pad':
        names.pop()
    return len(names) <= 1 and set(names) <= _RESIZE


def _is_of_a_stack(part: Any) -> bool:
    return type(part).__module__.partition('.')[0] in _STACKS
