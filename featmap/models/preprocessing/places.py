"""Where a preprocessing puts images, measured once for each size of image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from featmap.errors import FeatMapError, GeometryError
from featmap.geometry import ImageGeometry, measure
from featmap.geometry.probes import asymmetric_probe
from featmap.models.preprocessing.callers import Caller
from featmap.models.preprocessing.culprits import RANDOM, first_culprit
from featmap.models.steadiness import is_steady, same_chance
from featmap.wording import option as written

_MOST_KNOWN = 4096  # sizes of images
_SMALL = 64  # pixels of the longer side: what is left to chance shows in a small image as well
# A step that is drawn by lot must not look steady by chance: of two ends that are equally likely, once in 2^15 where a
# generator is known to have been asked, in 2^8 where none of the shared ones was.
_REPEATS = {True: 15, False: 8}


def ways_out(shape: tuple[int, int] | None = None) -> str:
    """What to do about a preprocessing that cannot be placed, and makes inputs of this height and width."""
    size = 224 if shape is None else shape[0] if shape[0] == shape[1] else shape
    declared = f'{written("input_size", size)} and {written("resize", "letterbox")}'
    return (
        f"say what it does by {declared} (or another way), or draw over the network's own input by "
        f'{written("overlay", "input")}'
    )


class MeasuredPlaces:
    """The geometry of a preprocessing for each size of image, found by showing it probe images.

    Args:
        caller: The preprocessing.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._steady = False
        self._made: tuple[int, int] | None = None  # height and width of the last input
        self._any_contrast = True  # until one size of image has told otherwise
        self._known: OrderedDict[tuple[int, int], ImageGeometry | str] = OrderedDict()  # or why there is none

    def of(self, image_shape: tuple[int, int]) -> ImageGeometry:
        """The geometry of images of this height and width.

        Raises:
            GeometryError: no scaling, shift, flip and crop lead from the image to the input, or another each time.
            SourceError: the preprocessing cannot take images of this size.
        """
        if image_shape not in self._known:
            try:
                found: ImageGeometry | str = self._measured(image_shape)
            except GeometryError as error:
                found = str(error)  # not the error, whose traceback holds the images
            self._known[image_shape] = found
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        known = self._known[image_shape]
        if isinstance(known, str):
            raise GeometryError(known)
        return known

    def _measured(self, image_shape: tuple[int, int]) -> ImageGeometry:
        with same_chance() as drawn:
            try:
                found = measure(self._input, image_shape, self._any_contrast)
                steady = self._is_steady(image_shape, drawn)
            except GeometryError as error:
                said = first_culprit(self._caller, image_shape) or f'{self._caller.name}: {error}'
                raise GeometryError(f'{said}; {ways_out(self._made)}') from error
            if steady:
                self._any_contrast = found.own_contrast
                return found.geometry
            name = first_culprit(self._caller, image_shape) or f'{self._caller.name} {RANDOM}'
        raise GeometryError(f'{name}; {ways_out(self._made)}')

    def _input(self, image: np.ndarray) -> np.ndarray:
        found = self._caller(image)[0].numpy()
        self._made = found.shape[-2], found.shape[-1]
        return found

    def _is_steady(self, image_shape: tuple[int, int], drawn: Callable[[], bool]) -> bool:
        """Whether the same comes out each time; told once, and again whenever a generator is asked."""
        if self._steady and not drawn():
            return True
        probe = asymmetric_probe(image_shape)
        if not is_steady(self._input, probe, 1):
            return False
        factor = min(_SMALL / max(image_shape), 1)
        small = asymmetric_probe((max(round(image_shape[0] * factor), 1), max(round(image_shape[1] * factor), 1)))
        try:
            self._input(small)
        except FeatMapError:  # such as a crop that it does not cover
            small = probe
        self._steady = is_steady(self._input, small, _REPEATS[drawn()])
        return self._steady
