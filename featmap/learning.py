"""What is learned of a run's images before the first is drawn: where cells lie, a basis of ``pca``, a common range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featmap.calibration import IMAGES as CALIBRATION_IMAGES
from featmap.extractor import MapExtractor
from featmap.images import pixels_of
from featmap.norm import Norm
from featmap.rendering.normalize import Range
from featmap.rendering.scales import run_range
from featmap.sources import Source


class Learning:
    """Looks at images once for each thing that they share; what is kept is not learned anew.

    Args:
        extractor: Runs the model. Its reducer is fitted.
        norm: The rule of the colour scale.

    Attributes:
        run: The range of all maps, for the norm ``run``; None for any other.
    """

    def __init__(self, extractor: MapExtractor, norm: Norm) -> None:
        self._extractor, self._norm = extractor, norm
        self.run: Range | None = None
        self._has_basis = self._has_range = False

    @property
    def has_basis(self) -> bool:
        """Whether the reducer is kept as it was fitted."""
        return self._has_basis

    def keep(self) -> None:
        """Keep what was learned for all images to come."""
        self._has_basis = self._has_range = True

    def forget(self) -> None:
        """Learn everything anew."""
        self._extractor.placement.nominal()
        self._has_basis = self._has_range = False

    def shared(self, extractor: MapExtractor, norm: Norm) -> Learning:
        """The same for another extractor of the same maps; its range, where the rule asks for the same one."""
        other = Learning(extractor, norm)
        other._has_basis = self._has_basis
        if norm.kind == self._norm.kind:
            other.run, other._has_range = self.run, self._has_range
        return other

    def see(self, images: Sequence[np.ndarray | Source], skip: tuple[type[Exception], ...] = ()) -> None:
        """Learn from (H, W, 3) RGB uint8 images, or sources to read them from.

        Args:
            images: All that share what is learned.
            skip: Errors of single images to pass over; drawing meets them again, and reports them.
        """
        extractor, placement = self._extractor, self._extractor.placement
        if extractor.calibrated and not placement.calibrated:
            for item in images[:CALIBRATION_IMAGES]:
                try:
                    extractor.mirror(pixels_of(item))
                except skip:
                    continue
            placement.calibrate()
        if not self._has_basis and getattr(extractor.reducer, 'needs_fit', False):
            for item in images:
                try:
                    extractor.observe(pixels_of(item))
                except skip:
                    continue
            extractor.reducer.fit()  # type: ignore[attr-defined]
        if not self._has_range and self._norm.kind == 'run':
            self.run = None
            for item in images:
                try:
                    self.run = run_range(extractor.maps(pixels_of(item)), self.run)
                except skip:
                    continue
