"""``Faithfulness``: whether an explanation can be trusted, in figures, beside what knows nothing of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featmap.faithfulness.curves import Curves
from featmap.faithfulness.protocol import Protocol

UNKNOWN = float('nan')


@dataclass(frozen=True)
class Figures:
    """What was measured of one map of one target.

    Attributes:
        curves: Insertion and deletion, one for each baseline.
        energy: The share of the heat in the target's box or region; NaN where it has none, as a class of an image.
        others: Of the heat on all objects, the share on other ones; NaN where there is no other.
        pointing: 1 where the maximum is inside, else 0; NaN as for ``energy``.
    """

    curves: tuple[Curves, ...] = ()
    energy: float = UNKNOWN
    others: float = UNKNOWN
    pointing: float = UNKNOWN

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, as sidecars hold them: None where there is no figure, curves to five places."""
        found: dict[str, Any] = {}
        for curves in self.curves:
            found[curves.baseline] = {
                'insertion': _rounded(curves.insertion_area),
                'deletion': _rounded(curves.deletion_area),
                'whole': _rounded(curves.whole),
                'insertion_curve': [_rounded(value) for value in curves.insertion.tolist()],
                'deletion_curve': [_rounded(value) for value in curves.deletion.tolist()],
            }
        plain = {'energy_in_box': self.energy, 'energy_in_other_boxes': self.others, 'pointing': self.pointing}
        return {**found, **{name: _rounded(value) for name, value in plain.items()}}

    def text(self) -> str:
        """The first baseline's areas and where the heat is: ``insertion 0.82 · deletion 0.003 · 75 % in the box``."""
        words = []
        if self.curves:
            first = self.curves[0]
            words = [f'insertion {first.insertion_area:.2f}', f'deletion {first.deletion_area:.3f}']
        if not math.isnan(self.energy):
            words.append(f'{self.energy:.0%} inside'.replace('%', ' %'))
        if not math.isnan(self.others):
            words.append(f'{self.others:.0%} in others'.replace('%', ' %'))
        if not math.isnan(self.pointing):
            words.append('maximum inside' if self.pointing == 1 else 'maximum outside')
        return ' · '.join(words)


@dataclass(frozen=True)
class Faithfulness:
    """How faithful one explanation is.

    Attributes:
        protocol: How it was measured; without it no figure means anything.
        figures: Of the explanation's map.
        controls: Of maps that know nothing of the model, by name: ``random``, ``box``, ``gaussian``.
    """

    protocol: Protocol
    figures: Figures
    controls: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """One line: the figures, those of the box itself or else of noise, and the protocol."""
        words = [self.figures.text()]
        name = next((name for name in ('box', 'region', 'random') if name in self.controls), None)
        if name is not None and self.controls[name].curves:
            first = self.controls[name].curves[0]
            called = 'noise' if name == 'random' else f'the {name} itself'
            words.append(f'{called}: {first.insertion_area:.2f}, {first.deletion_area:.3f}')
        return f'{" (".join(words)}{")" * (len(words) - 1)} · {self.protocol.name}'

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, as sidecars hold them."""
        return {
            'protocol': self.protocol.name,
            'shares': [_rounded(share) for share in self.protocol.shares],
            **self.figures.as_dict(),
            'controls': {name: figures.as_dict() for name, figures in self.controls.items()},
        }


def _rounded(value: float) -> float | None:
    """Five places, which is more than a figure has; None for what is no number."""
    return round(float(value), 5) if math.isfinite(value) else None
