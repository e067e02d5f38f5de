"""Reducers that project the features of each cell onto their leading components."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featmap.arrays import read_npz
from featmap.errors import OptionError, SourceError, first_line
from featmap.reducers.base import Reducer
from featmap.reducers.components import content_columns, fix_signs, leading_components
from featmap.reducers.rounding import magnitude
from featmap.registry import REDUCERS
from featmap.structures import Reduction
from featmap.wording import option as written

MAX_BASIS_BYTES = 1 << 30
_REACH = 2.5  # standard deviations that the colours of a component span to either side


@dataclass(frozen=True)
class Basis:
    """Components of features of C channels: mean (C,), directions (C, K) and variances (K,), and the total variance."""

    mean: Tensor
    directions: Tensor
    variances: Tensor
    total: float


class _Moments:
    """Count, mean and scatter about the mean of the features of cells, in float64, added up over maps.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979: where
    the mean is large, a sum of squares less the square of the mean would keep few digits.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self.scatter = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, columns: Tensor) -> None:
        count = columns.shape[1]
        if not count:
            return
        mean = columns.double().mean(dim=1)
        # One product in float32 a map, on the model's device; only the sum over maps needs the digits.
        centred = columns - mean.float()[:, None]
        step = mean.cpu() - self.mean
        total = self.count + count
        self.scatter += (centred @ centred.T).double().cpu()
        self.scatter += torch.outer(step, step) * (self.count * count / total)
        self.mean += step * (count / total)
        self.count = total

    def basis(self, k: int) -> Basis:
        values, vectors = torch.linalg.eigh(self.scatter / max(self.count, 1))
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        return Basis(self.mean.float(), fix_signs(vectors[:, :k].float()), values[:k].float(), float(values.sum()))


@REDUCERS.register_module('pca')
class PCA(Reducer):
    """The first ``k`` principal components: three as red, green and blue, any other number as planes.

    Cells that the layer finds alike have like colours. One basis is fitted jointly over what :meth:`observe` is shown:
    all images of a run and, for an equal number of channels, all layers; without that, on the map itself. Each
    direction's largest loading is positive, and its colours span 2.5 standard deviations to either side of the mean.

    Args:
        k: How many components.
        as_rgb: Whether to draw them as one picture; by default where ``k`` is 3.
        basis: A file with what :meth:`dump` gave; nothing is fitted then.
    """

    def __init__(self, k: int = 3, as_rgb: bool | None = None, basis: str | None = None) -> None:
        if k < 1:
            raise ValueError(f'k must be at least 1, got {k}')
        if as_rgb and k != 3:
            raise ValueError(f'red, green and blue take 3 components, got k={k}')
        self.k = k
        self.as_rgb = k == 3 if as_rgb is None else as_rgb
        self.bases: dict[int, Basis] = {}
        self._moments: dict[int, _Moments] = {}
        self.needs_fit = basis is None
        # What a basis of another run explains here is not known.
        self._origin = '' if basis is None else f' by {Path(basis).name}'
        if basis is not None:
            for channels, held in load_bases(basis).items():
                count = held.directions.shape[1]
                if count < min(k, channels):
                    raise ValueError(f'{basis} holds {count} components, fewer than {k}; ask for {count}')
                self.bases[channels] = replace(held, directions=held.directions[:, :k], variances=held.variances[:k])

    def observe(self, features: Tensor, weights: Tensor) -> None:
        """Let the features of one map, as for a call, take part in the fit."""
        moments = self._moments.setdefault(features.shape[0], _Moments(features.shape[0]))
        moments.add(content_columns(features, weights))

    def fit(self) -> None:
        """Make the basis of what was observed, and forget what was observed."""
        self.bases = {channels: moments.basis(self.k) for channels, moments in self._moments.items()}
        self._moments = {}

    def dump(self) -> bytes:
        """The fitted bases as the content of an .npz file that ``basis`` takes."""
        arrays = {}
        for channels, basis in self.bases.items():
            arrays[f'mean_{channels}'] = basis.mean.numpy()
            arrays[f'directions_{channels}'] = basis.directions.numpy()
            arrays[f'variances_{channels}'] = basis.variances.numpy()
            arrays[f'total_{channels}'] = np.array(basis.total)
        file = BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        channels, rows, columns = features.shape
        basis = self.bases.get(channels)
        if basis is None:
            if not self.needs_fit:
                known = ', '.join(map(str, sorted(self.bases)))
                raise OptionError(f'the basis is for maps of {known} channels, got one of {channels}')
            basis = self._own_basis(features, weights)
        directions = basis.directions.to(features.device)
        values = directions.T @ (features.float().flatten(1) - basis.mean.to(features.device)[:, None])
        shares = basis.variances / basis.total if basis.total > 0 else basis.variances * 0
        reach = (_REACH * basis.variances.sqrt()).tolist()
        texts = [self._origin or f', {share:.0%}' for share in shares.tolist()]
        names = tuple(f'component {number + 1}{text}' for number, text in enumerate(texts))
        missing = self.k - len(names) if self.as_rgb else 0
        values = torch.cat([values, values.new_zeros(missing, values.shape[1])]).unflatten(1, (rows, columns))
        ranges = tuple((-r, r) for r in reach) + ((0.0, 0.0),) * missing
        if self.as_rgb:
            names = (f'pca{self._origin or f", {float(shares.sum()):.0%} of variance"}',)
        kind, size = 'image' if self.as_rgb else 'heat', magnitude(features) * channels**0.5
        return Reduction(values, (None,) * len(values), kind, names, ranges, size)

    def _own_basis(self, features: Tensor, weights: Tensor) -> Basis:
        cells = content_columns(features, weights)
        mean = cells.mean(dim=1) if cells.shape[1] else cells.new_zeros(len(cells))
        centred = cells - mean[:, None]
        directions, squares = leading_components(centred, self.k)
        count = max(cells.shape[1], 1)
        total = float(centred.square().sum()) / count
        return Basis(mean.cpu(), fix_signs(directions).cpu(), (squares / count).cpu(), total)


def load_bases(path: str | Path) -> dict[int, Basis]:
    """The bases in a file with what :meth:`PCA.dump` gave, by number of channels.

    Raises:
        SourceError: where the file is missing or is no such file.
    """
    hint = f'write one with {written("save_basis")}'
    try:
        with Path(path).open('rb') as file:
            arrays = read_npz(file.read(MAX_BASIS_BYTES))
        bases = {count: _basis(count, arrays) for count in sorted(_channels_in(arrays))}
    except Exception as error:  # a damaged archive can fail in any way
        raise SourceError(f'{str(path)!r} holds no basis: {first_line(error)}; {hint}') from error
    if not bases:
        raise SourceError(f'{str(path)!r} holds no basis; {hint}')
    return bases


def _channels_in(arrays: dict[str, np.ndarray]) -> list[int]:
    return [int(name.partition('_')[2]) for name in arrays if name.startswith('mean_')]


def _basis(channels: int, arrays: dict[str, np.ndarray]) -> Basis:
    directions = arrays.get(f'directions_{channels}')
    count = directions.shape[-1] if directions is not None and directions.ndim else 0
    shapes = {'mean': (channels,), 'directions': (channels, count), 'variances': (count,), 'total': ()}
    found = {}
    for name, shape in shapes.items():
        values = arrays.get(f'{name}_{channels}')
        if values is None or values.shape != shape or values.dtype.kind != 'f' or not np.isfinite(values).all():
            got = 'missing' if values is None else f'{values.dtype} {values.shape}'
            raise ValueError(f'{name}_{channels} is {got}, expected finite floats of {shape}')
        found[name] = values
    if not 0 < count <= channels or min(found['variances'].min(), found['total']) < 0:
        raise ValueError(f'{count} components of {channels} channels, expected some, of variances from 0 up')
    mean, directions, variances = (found[name].astype(np.float32) for name in ('mean', 'directions', 'variances'))
    return Basis(
        torch.from_numpy(mean), torch.from_numpy(directions), torch.from_numpy(variances), float(found['total'])
    )


@REDUCERS.register_module('eigen')
class Eigen(Reducer):
    """Features projected onto their first singular vector, uncentred as in EigenCAM.

    Muhammad and Yeasin, "Eigen-CAM", 2020. A singular vector has no sign: the one is taken for which the plane's sum
    over the image is not negative, so that a map never comes out inverted.
    """

    def __call__(self, features: Tensor, weights: Tensor) -> Reduction:
        directions, _ = leading_components(content_columns(features, weights), 1)
        if not directions.shape[1]:
            return Reduction(features.float().new_full((1, *features.shape[1:]), torch.nan), (None,))
        plane = (directions.T @ features.float().flatten(1)).unflatten(1, features.shape[1:])
        counted = torch.nan_to_num(plane[0], nan=0.0, posinf=0.0, neginf=0.0) * weights
        size = magnitude(features) * len(features) ** 0.5
        return Reduction(plane * (-1.0 if counted.sum() < 0 else 1.0), (None,), magnitude=size)
