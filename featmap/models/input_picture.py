"""The input of a network as a picture: what it really sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featmap.geometry.probes import plain_images
from featmap.models.protocol import AnyModel, Batch

_LEVELS = 0.2, 0.4, 0.8  # of red, green and blue in the image that tells the channels apart
_WITHIN = 0.02
_BLENDED = 0.2  # share of the input at the edges of an image, which may be blended with what is around it


@dataclass(frozen=True)
class InputPicture:
    """What stands for a network input.

    Attributes:
        image: (h, w, 3) RGB uint8.
        exact: Whether its levels are those of the image, normalisation undone. Else the lowest value is black and the
            highest white, over all channels.
    """

    image: np.ndarray
    exact: bool

    def title(self, name: str) -> str:
        """What it is called where the image is called so."""
        return f'{name}, network input{"" if self.exact else " (stretched)"}'


class InputPictures:
    """Turns network inputs back into pictures, by what black, white and one colour become.

    Args:
        model: The model, whose ``prepare`` makes network inputs.
    """

    def __init__(self, model: AnyModel) -> None:
        self._model = model
        self._levels: _Levels | None = None
        self._asked = False

    def of(self, image: np.ndarray, batch: Batch) -> InputPicture:
        """The picture of a batch of one, which was made of an (H, W, 3) RGB uint8 image."""
        if not self._asked:
            # What becomes of a level does not depend on the size of the image.
            self._levels, self._asked = self._measured((image.shape[0], image.shape[1])), True
        planes = batch.inputs[0].float().cpu().numpy()
        if self._levels is None:
            finite = planes[np.isfinite(planes)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
            shares = (planes - low) / max(high - low, 1e-12)
        else:
            shares = (planes - self._levels.black) / self._levels.span
            shares = shares[::-1] if self._levels.reversed else shares
        if len(shares) != 3:
            shares = np.repeat(shares.mean(axis=0, keepdims=True), 3, axis=0)
        levels = np.clip(np.nan_to_num(shares) * 255, 0, 255)
        return InputPicture(np.round(levels).astype(np.uint8).transpose(1, 2, 0).copy(), self._levels is not None)

    def _measured(self, image_shape: tuple[int, int]) -> _Levels | None:
        colour = np.tile((np.array(_LEVELS) * 255).astype(np.uint8), (*image_shape, 1))
        black, white, coloured = (
            self._model.prepare([probe], over_input=True).inputs[0].double().cpu().numpy()
            for probe in (*plain_images(image_shape), colour)
        )
        return _Levels.between(black, white, coloured)


@dataclass(frozen=True)
class _Levels:
    """What black became in each channel, and how far white is from it: (C, 1, 1); whether the channels are BGR."""

    black: np.ndarray
    span: np.ndarray
    reversed: bool

    @classmethod
    def between(cls, black: np.ndarray, white: np.ndarray, coloured: np.ndarray) -> _Levels | None:
        """From what three images became, (C, h, w); None where a level's fate is not its own alone."""
        if not black.shape == white.shape == coloured.shape:
            return None
        span = white - black
        if not np.isfinite(span).all() or np.abs(span).max() <= 1e-6:
            return None
        share = np.abs(span).max(axis=0) / np.abs(span).max()
        # Pads do not change with the image, unless its own mean is subtracted from them.
        if ((share > 0.05) & (share < 0.9)).mean() > _BLENDED:
            return None
        content = share > 0.5
        found = [np.median(plane[:, content], axis=1) for plane in (black, span)]
        if (np.abs(found[1]) <= 1e-6).any():
            return None
        stray = [np.abs(plane[:, content] - each[:, None]) for plane, each in zip((black, span), found)]
        shares = (np.median(coloured[:, content], axis=1) - found[0]) / found[1]
        # A mean of the colours is theirs too: grey, once or in each channel.
        known = [_LEVELS, _LEVELS[::-1], (float(shares[0]),) * len(shares)]
        fits = [len(shares) == len(way) and bool(np.allclose(shares, way, atol=_WITHIN)) for way in known]
        fits[2] = fits[2] and _LEVELS[0] - _WITHIN < shares[0] < _LEVELS[2] + _WITHIN
        if not any(fits) or max(np.quantile(each, 1 - _BLENDED) for each in stray) > _WITHIN * np.abs(found[1]).max():
            return None
        return cls(found[0][:, None, None], found[1][:, None, None], fits[1])
