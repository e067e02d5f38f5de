"""What the user gets for one image."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from featmap.errors import OptionError, OutputError
from featmap.matching import Match
from featmap.notebook import screen_png
from featmap.rendering.normalize import Range
from featmap.singles import Singles
from featmap.sinks import exact_file, save_image, save_images
from featmap.split import original_file, save_singles
from featmap.storage import SavedImage
from featmap.structures import Detections, FeatureMap, Rendering
from featmap.writing import refuse_overwriting

if TYPE_CHECKING:
    from featmap.figure import MapFigure

FIGURES = ('.pdf', '.svg')
"""Suffixes of files that hold a figure rather than the picture."""


@dataclass(frozen=True, repr=False)
class Result:
    """All that came of one image.

    Attributes:
        name: What the image is called.
        renderings: The picture and the places of its panels; several pages where a layer has very many.
        maps: The reduced maps.
        predictions: The detections that are drawn; None where they were not asked for.
        original: The image itself, (H, W, 3) RGB uint8; with ``overlay='input'`` the network input in its place.
        location: The path or URL that it was read from; empty for an array and for standard input.
        refused: Which of several layers put out no map, each with the reason.
        figure_options: How :meth:`figure` draws where it is told nothing else: as the picture was drawn.
        match: Ground truth, and what of it was found; None where there is none.
        draw_panels: Draws the panels one by one; None where that is not known.
    """

    name: str
    renderings: Sequence[Rendering]
    maps: tuple[FeatureMap, ...]
    predictions: Detections | None
    original: np.ndarray
    location: str = ''
    refused: tuple[str, ...] = ()
    figure_options: Mapping[str, Any] = field(default_factory=dict, compare=False)
    match: Match | None = None
    draw_panels: Callable[[], Singles] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """One line: what it is called, how many maps, what was found."""
        found = '' if self.predictions is None else f', {self.predictions.count}'
        return f'<Result of {self.name!r}: {len(self.maps)} map{"s" * (len(self.maps) != 1)}{found}>'

    def _repr_png_(self) -> bytes:
        return screen_png(self.image)

    @property
    def rendering(self) -> Rendering:
        """The picture, or its first page."""
        return self.renderings[0]

    @property
    def image(self) -> np.ndarray:
        """The picture, or its first page: (H, W, 3) RGB uint8."""
        return self.rendering.image

    def figure(self, **options: Any) -> MapFigure:
        """The maps as a matplotlib figure for print, which shows itself in notebooks.

        Args:
            **options: Those of :func:`featmap.figure.draw_figure`: ``width`` in inches, ``dpi``, ``title``,
                ``columns``, ``font_size``, ``style``, ``arrangement``, ``labels`` and others.
        """
        from featmap.figure import draw_figure

        chosen = {'name': self.name, 'match': self.match, **self.figure_options, **options}
        return draw_figure(self.original, self.maps, self.predictions, **chosen)

    def save(self, path: str | Path, quality: int = 95) -> Path:
        """Write the picture and return its path; the suffix chooses the format, none means PNG.

        ``.pdf`` and ``.svg`` hold the :meth:`figure`. Of several pages of the picture the second goes to
        ``name.page2.png``, and so on. ``quality`` is for JPEG and WebP: 1 to 100.
        """
        return self.save_pages(path, quality=quality)[0]

    def save_pages(self, path: str | Path, taken: Collection[Path] = (), quality: int = 95) -> list[Path]:
        """As :meth:`save`; returns the path of every page.

        Args:
            path: Where the first page goes.
            taken: Resolved paths that further pages must not overwrite, such as inputs.
            quality: Of JPEG and WebP, 1 to 100.

        Raises:
            OutputError: before anything is written, where a page would overwrite one of them, or the image itself.
        """
        read = {self.location: 'the image that it shows'}
        if Path(path).suffix.lower() in FIGURES:
            from featmap.figure import write_figure

            file = Path(os.path.expanduser(path))
            refuse_overwriting([file], read)
            write_figure(file, self.figure())
            return [file]
        target = exact_file(path)
        pages = [target]
        for number in range(2, len(self.renderings) + 1):
            pages.append(target.with_name(f'{target.stem}.page{number}{target.suffix}'))
            if pages[-1].resolve() in taken:
                raise OutputError(
                    f'page {number} of {str(target)!r} would overwrite {str(pages[-1])!r}: choose another name'
                )
        refuse_overwriting(pages, read)
        if len(pages) == 1:
            save_image(self.image, target, quality)
            return pages
        return save_images(((rendering.image, page) for page, rendering in zip(pages, self.renderings)), quality)

    def panels(self) -> Singles:
        """Every panel by itself and bare: the names, and ``draw()`` for the pictures in their order.

        Raises:
            OptionError: where the visualizer draws no single panels.
        """
        if self.draw_panels is None:
            raise OptionError('this visualizer draws no single panels: expected FeatMapVisualizer or a subclass')
        return self.draw_panels()

    def save_split(self, folder: str | Path, format: str = 'png', quality: int = 95) -> list[Path]:
        """Write every panel to a file of its own, ``NAME.layer.panel.png``, the image as ``NAME.original.png``.

        They are bare; ``NAME.panels.json`` says what each shows, and on which range.

        Args:
            folder: Is created where it is missing.
            format: ``png``, ``jpg`` or ``webp``.
            quality: Of JPEG and WebP, 1 to 100.

        Returns:
            The paths, that of the document last.

        Raises:
            OutputError: before anything is written, where a file would overwrite the image itself.
        """
        picture = Path(os.path.expanduser(folder)) / f'{PurePath(self.name).stem}.{format}'
        return self.save_panels(original_file(picture), quality=quality)

    def save_panels(self, original: Path, taken: Collection[Path] = (), quality: int = 95) -> list[Path]:
        """As :meth:`save_split`, by the path of the original's file; see :func:`featmap.split.save_singles`."""
        read = {self.location: 'the image that it shows'}
        return save_singles(self.panels(), original, taken, read, quality)

    def saved(self, provenance: dict[str, Any], run: Range | None = None) -> SavedImage:
        """What :func:`featmap.storage.save_maps` keeps of it.

        Args:
            provenance: See :class:`featmap.storage.SavedImage`.
            run: The range of the whole run, for the norm ``run``.
        """
        return SavedImage(
            name=self.name,
            location=self.location,
            image_shape=(self.original.shape[0], self.original.shape[1]),
            maps=self.maps,
            detections=self.predictions,
            provenance=provenance,
            run_range=(run.low, run.high, run.noise) if run else None,
            truth=self.match.truth if self.match else None,
        )
