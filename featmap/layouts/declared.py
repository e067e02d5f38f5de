"""What the modules of a model say of their tokens: patches, grid, and which tokens are no cells.

Attributes are read by the names that timm, transformers, torchvision, mmpretrain, CLIP and the DINO repositories give
them; none of these packages is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from featmap.layouts.grids import Grid, Layout

_PATCHES = ('patch_size', 'patch_sizes')
_GRIDS = ('grid_size', 'patch_resolution', 'patches_resolution', 'init_out_size', 'feat_size')
_SIZES = ('img_size', 'image_size', 'init_input_size', 'img_dim')
_BEFORE = ('num_prefix_tokens', 'num_extra_tokens')
# Parameters, a token each or (1, n, C); class_embedding of CLIP is (C,).
_FIRST = ('cls_token', 'class_token', 'class_embedding', 'cls_embed', 'dist_token', 'distillation_token',
          'reg_token', 'reg_tokens', 'register_tokens', 'storage_tokens', 'register_embedding')  # fmt: skip
_LAST = ('detection_tokens', 'det_token', 'det_tokens')
_EMBEDDINGS = ('embeddings', 'patch_embed', 'patch_embeddings', 'embed', 'conv_proj', 'encoder')
_MERGES = 5  # pyramids of tokens halve their grid so often


@dataclass(frozen=True)
class _Said:
    """Cells a patch, (rows, columns) of pixels; the grid for inputs of one size; tokens before and after the cells."""

    patch: tuple[int, int] | None = None
    grid: tuple[int, int] | None = None
    made_for: tuple[int, int] | None = None
    before: int | None = None
    after: int | None = None

    def grids(self, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """What an input of this height and width may have, most likely first."""
        if self.grid and (self.made_for in (None, size)):
            yield self.grid
        if self.patch is None:
            return
        for merges in range(_MERGES):
            high, wide = (side << merges for side in self.patch)
            yield size[0] // high, size[1] // wide
            yield -(-size[0] // high), -(-size[1] // wide)


def declared_layout(model: nn.Module, name: str, size: tuple[int, int], value: Tensor) -> Layout | None:
    """How cells stand in tokens (N, L, C) by what the modules around a layer say, innermost first.

    Args:
        model: The model.
        name: The layer's dotted name.
        size: Height and width of the network input.
        value: What the layer put out.

    Returns:
        None where nothing is said, or where no number of tokens that is said fits.
    """
    count = int(value.shape[1])
    told = [_said(module) for module in _around(model, name)]
    before = next((said.before for said in told if said.before is not None), 0)
    after = next((said.after for said in told if said.after is not None), 0)
    for said in told:
        for rows, columns in said.grids(size):
            # Inside, cells may be by themselves too.
            for first, last in ((before, after), (before, 0), (0, after), (0, 0)):
                if rows * columns > 1 and rows * columns + first + last == count:
                    return Layout((1,), (Grid((rows, columns), first),))
    return None


def _around(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """The layer and those that it is a part of, each before the module of its embeddings."""
    chain = [model]
    for part in name.split('.'):
        inner = chain[-1]._modules.get(part)
        if inner is None:
            break
        chain.append(inner)
    for module in reversed(chain):
        yield module
        for child in _EMBEDDINGS:
            inner = module._modules.get(child)
            if inner is not None and inner not in chain:
                yield inner


def _said(module: nn.Module) -> _Said:
    config = getattr(module, 'config', None)
    patch = _first_pair(module, _PATCHES) or _first_pair(config, _PATCHES)
    before, after = _first_whole(module, _BEFORE), _tokens(module, _LAST)
    if before is None:
        before = _tokens(module, _FIRST)
    if after is None:
        after = _first_whole(config, ('num_detection_tokens',))
    return _Said(patch, _first_pair(module, _GRIDS), _first_pair(module, _SIZES), before, after)


def _tokens(module: nn.Module, names: tuple[str, ...]) -> int | None:
    found = [module._parameters.get(name) for name in names]
    counts = [1 if each.ndim == 1 else int(each.shape[-2]) for each in found if each is not None and each.ndim]
    return sum(counts) if counts else None


def _entry(source: Any, name: str) -> Any:
    if isinstance(source, Mapping):
        return source.get(name)
    return None if source is None else getattr(source, name, None)


def _first_pair(source: Any, names: tuple[str, ...]) -> tuple[int, int] | None:
    """The first entry that is a length or a height and a width, both above 0; of a list of stages the first."""
    for name in names:
        value = _entry(source, name)
        if name == 'patch_sizes' and isinstance(value, (list, tuple)) and value:
            value = value[0]
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value, value
        if isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_length(each) for each in value):
            return int(value[0]), int(value[1])
    return None


def _first_whole(source: Any, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = _entry(source, name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
