"""What MMEngine's vis backends get of an image: a picture, or one of each layer under a tag of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from featmap.matching import Match
from featmap.rendering.normalize import Range
from featmap.rendering.scales import scales_of
from featmap.structures import Detections, FeatureMap, Rendering

if TYPE_CHECKING:
    from featmap.visualizer import FeatMapVisualizer


def add_to_logs(
    visualizer: FeatMapVisualizer,
    name: str,
    image: np.ndarray,
    maps: Sequence[FeatureMap],
    detections: Detections | None,
    renderings: Sequence[Rendering],
    step: int = 0,
    run: Range | None = None,
    match: Match | None = None,
) -> list[str]:
    """Hand an image's pictures to every vis backend of a visualizer, and return their tags.

    Maps of one layer are one picture, under the name of the image without its suffix: ``dog``. Several layers have
    one each, as if it alone were drawn, on colour scales that the norm shares among all of them, under ``dog/LAYER``:
    TensorBoard and others show what stands before a slash as a group. Where a picture has several pages they end in
    ``_1``, ``_2`` and so on.

    Args:
        visualizer: Whose backends they are, and who draws.
        name: What the image is called.
        image: (H, W, 3) RGB uint8, the original.
        maps: Its maps.
        detections: As for :meth:`FeatMapVisualizer.draw_maps`.
        renderings: The picture of all maps, by page.
        step: What the backends count by.
        run: The range of the whole run, for the norm ``run``.
        match: Ground truth, and what of it was found.
    """
    stem = PurePath(name).stem
    layers: dict[str, list[int]] = {}
    for index, item in enumerate(maps):
        layers.setdefault(item.layer, []).append(index)
    if len(layers) < 2:
        return add_pages(visualizer, stem, renderings, step)
    # As large as in one picture of all: a hundred layers are not a hundred times as much to send.
    longest = max(visualizer.view(image, detections, maps).shape)
    scales = scales_of(maps, visualizer.look.norm, run)
    tags = []
    for layer, chosen in layers.items():
        mine, theirs = [maps[index] for index in chosen], [scales[index] for index in chosen]
        pages = visualizer.draw_sheets(image, mine, detections, name, run, match, theirs, longest)
        tags += add_pages(visualizer, f'{stem}/{layer}', pages, step)
    return tags


def add_pages(visualizer: FeatMapVisualizer, tag: str, pages: Sequence[Rendering], step: int) -> list[str]:
    """Hand pages to every vis backend, and return their tags: the tag itself, or ``tag_1`` and so on."""
    tags = [tag] if len(pages) == 1 else [f'{tag}_{number + 1}' for number in range(len(pages))]
    for each, page in zip(tags, pages):
        visualizer.add_image(each, page.image, step)
    return tags
