"""Which values the lowest and the highest colour stand for: the rule, before there are any values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from featmap.errors import OptionError
from featmap.wording import option as written

_NUMBER = r'([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)'
_FIXED = re.compile(rf'\s*{_NUMBER}\s*,\s*{_NUMBER}\s*')
_PERCENTILE = re.compile(rf'\s*p{_NUMBER}\s*,\s*p{_NUMBER}\s*')


@dataclass(frozen=True)
class Norm:
    """How values are put on the colour scale.

    Attributes:
        kind: ``map`` (each plane's own range), ``layer`` (shared by a layer's maps of an image), ``image`` (by all maps
            of an image), ``run`` (by all maps of all images), ``fixed`` or ``percentile`` (of each plane).
        low: Lower end for ``fixed``, lower percentile for ``percentile``.
        high: Upper end or percentile.
        symmetric: Widen the range to one centred on 0.
    """

    kind: str = 'map'
    low: float = 0.0
    high: float = 0.0
    symmetric: bool = False

    @property
    def note(self) -> str:
        """What a label says of a range that is not the plane's own; empty for one that is."""
        if self.kind == 'percentile':
            return f'p{self.low:g}–p{self.high:g}'
        return '' if self.kind == 'map' else self.kind


def parse_norm(text: str, symmetric: bool = False) -> Norm:
    """A rule from ``map``, ``layer``, ``image``, ``run``, ``LO,HI`` or ``pLO,pHI``.

    Raises:
        OptionError: for anything else, and for ends that are not in order.
    """
    if text in ('map', 'layer', 'image', 'run'):
        return Norm(text, symmetric=symmetric)
    for kind, pattern in (('fixed', _FIXED), ('percentile', _PERCENTILE)):
        found = pattern.fullmatch(text) if isinstance(text, str) else None
        if found:
            low, high = float(found[1]), float(found[2])
            if not math.isfinite(high - low) or low >= high or (kind == 'percentile' and not 0 <= low < high <= 100):
                raise OptionError(
                    f'{written("norm", text)}: expected the lower end first, and percentiles from 0 to 100'
                )
            return Norm(kind, low, high, symmetric)
    raise OptionError(
        f'{written("norm", text)}: expected map, layer, image, run, two values such as 0,1, or two '
        'percentiles such as p1,p99'
    )
