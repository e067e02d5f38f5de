"""What is asked of any model of a library: its maps are those of a plain hook, and lie where the image shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featmap import FeatMapInferencer

DARK, BRIGHT = 60, 255


def photo(height: int, width: int) -> np.ndarray:
    """Noise, blurred by enlarging it: an image with something everywhere."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)[:height, :width].copy()


def hooked(model: nn.Module, layers: list[str], run: Callable[[], Any]) -> dict[str, Tensor]:
    """What layers put out in a plain forward, by plain hooks."""
    found: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, out))
        for name in layers
    ]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return found


def as_map(output: Tensor, layout: str, grid: tuple[int, int]) -> Tensor:
    """The (C, h, w) of one image that an output holds, by what is known of the architecture."""
    if layout == 'map':
        return output[0]
    if layout == 'last':
        return output[0].permute(2, 0, 1)
    cells = output[0, output.shape[1] - grid[0] * grid[1] :]
    return cells.T.reshape(-1, *grid)


def assert_equal_to_plain(vis: FeatMapInferencer, image: np.ndarray, plain: dict[str, Tensor], layout: str) -> None:
    """The maps of an image are the tensors of plain hooks."""
    maps = {item.layer: item for item in vis.extractor.extract(image)[0]}
    assert list(maps) == list(plain)
    for name, item in maps.items():
        expected = as_map(plain[name], layout, item.shape[1:])
        assert item.shape == tuple(expected.shape), name
        scale = float(expected.abs().max())
        torch.testing.assert_close(torch.from_numpy(item.features), expected, rtol=1e-4, atol=2e-5 * scale)


def assert_placed(
    vis: FeatMapInferencer, shape: tuple[int, int], spot: tuple[int, int], side: int, wide: tuple[str, ...] = ()
) -> None:
    """What a bright patch changes most lies where the patch is, in every map.

    Args:
        vis: Draws the layers, and keeps their features.
        shape: Height and width of the image.
        spot: The centre of the patch, x and y.
        side: Its sides.
        wide: Layers whose cells look at the whole image alike.
    """
    dark = np.full((*shape, 3), DARK, np.uint8)
    bright = dark.copy()
    x, y = spot
    bright[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = BRIGHT
    pairs = list(zip(vis.extractor.extract(dark)[0], vis.extractor.extract(bright)[0]))
    assert pairs
    for before, after in pairs:
        assert after.stride_known, after.layer
        if after.layer in wide:
            continue
        change = np.abs(after.features - before.features).mean(axis=0)
        # The middle of all that changes at least half as much as what changes most.
        weights = np.maximum(change - change.max() / 2, 0)
        row, column = (np.indices(change.shape) * weights).sum(axis=(1, 2)) / weights.sum()
        (sy, sx), (oy, ox) = after.stride, after.offset
        centre = np.array([(column + 0.5 + ox) * sx, (row + 0.5 + oy) * sy])
        geometry = after.geometry
        place = geometry.boxes_to_image(np.array([[*centre, *centre]], np.float64))[0, :2]
        # A kernel sees its neighbours, and an even one has no middle.
        far = np.array([sx / geometry.scale[0], sy / geometry.scale[1]]) + side / 4
        assert (np.abs(place - spot) <= far).all(), (after.layer, place, spot, far)


def positions(geometry: Any) -> np.ndarray:
    """Where the network input's pixels (0, 0) and (100, 100) lie in the original: x and y of both."""
    return geometry.boxes_to_image(np.array([[0, 0, 100, 100]], np.float64))[0]
