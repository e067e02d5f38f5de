"""What the user gets for one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featmap.sinks import exact_file, save_image
from featmap.structures import Detections, FeatureMap, Rendering


@dataclass(frozen=True)
class Result:
    """All that came of one image.

    Attributes:
        name: What the image is called.
        renderings: The picture and the places of its panels; several pages where a layer has very many.
        maps: The reduced maps.
        predictions: The detections that are drawn; None where they were not asked for.
        original: The image itself, (H, W, 3) RGB uint8.
        location: The path or URL that it was read from; empty for an array.
    """

    name: str
    renderings: tuple[Rendering, ...]
    maps: tuple[FeatureMap, ...]
    predictions: Detections | None
    original: np.ndarray
    location: str = ''

    @property
    def rendering(self) -> Rendering:
        """The picture, or its first page."""
        return self.renderings[0]

    @property
    def image(self) -> np.ndarray:
        """The picture, or its first page: (H, W, 3) RGB uint8."""
        return self.rendering.image

    def save(self, path: str | Path) -> Path:
        """Write the picture and return its path; the suffix chooses the format, none means PNG.

        Of several pages the second goes to ``name_2.png``, and so on.
        """
        return self.save_pages(path)[0]

    def save_pages(self, path: str | Path) -> list[Path]:
        """As :meth:`save`; returns the path of every page."""
        target = exact_file(path)
        written = []
        for number, rendering in enumerate(self.renderings, start=1):
            page = target if number == 1 else target.with_name(f'{target.stem}_{number}{target.suffix}')
            save_image(rendering.image, page)
            written.append(page)
        return written
