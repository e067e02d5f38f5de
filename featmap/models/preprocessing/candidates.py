"""The usual ways in which an image is laid into a network input of a given size."""

from __future__ import annotations

from collections.abc import Iterator

from featmap.geometry import ImageGeometry

# What is left of the shorter side by a centre crop: torchvision's 224 of 256, 232, 236, 242, 246, 248 and so on, and
# timm's crop_pct.
_CROPS = 1.0, 0.875, 0.9, 0.93, 0.95, 0.965, 0.985, 0.96, 0.92, 224 / 232, 224 / 236, 224 / 246, 0.8
_FLIPS = (False, False), (True, False), (False, True), (True, True)


def candidates(image_shape: tuple[int, int], input_shape: tuple[int, int]) -> Iterator[ImageGeometry]:
    """Stretched, letterboxed in the middle or at the top left, covering with a centre crop, squashed and cropped, as it
    is in the middle or at the top left, or the whole of a square around it; each also mirrored and upside down.
    """
    height, width = image_shape
    rows, columns = input_shape
    found: list[tuple[tuple[int, int], tuple[float, float]]] = []
    whole = min(rows / height, columns / width)
    box = max(round(height * whole), 1), max(round(width * whole), 1)
    found += [(box, ((columns - box[1]) // 2, (rows - box[0]) // 2)), (box, (0, 0)), ((rows, columns), (0, 0))]
    for share in _CROPS:
        cover = max(rows / share / height, columns / share / width)
        cut = max(int(height * cover + 1e-6), rows), max(int(width * cover + 1e-6), columns)
        squashed = int(rows / share + 1e-6), int(columns / share + 1e-6)
        found += [(size, (-round((size[1] - columns) / 2), -round((size[0] - rows) / 2))) for size in (cut, squashed)]
    found += [((height, width), ((columns - width) // 2, (rows - height) // 2)), ((height, width), (0, 0))]
    for size, corner in dict.fromkeys(found):
        scale = size[1] / width, size[0] / height
        for flip in _FLIPS:
            yield ImageGeometry(image_shape, input_shape, scale, corner, flip)
