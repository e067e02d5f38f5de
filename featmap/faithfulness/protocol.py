"""How faithfulness is measured: everything that two figures must share before they may be compared."""

from __future__ import annotations

from dataclasses import dataclass

from featmap.errors import OptionError

BASELINES = ('blur', 'black')
"""What takes the place of pixels that are taken away."""
AREAS = ('equal', 'octaves')
"""How many pixels come or go: as many in each step, or twice as many as before."""
_OCTAVES = 10


@dataclass(frozen=True)
class Protocol:
    """A way to measure insertion and deletion.

    Pixels of the original image, the most important first, are taken from it (deletion) or put onto the baseline
    (insertion), and the model is asked again. A box's value is the greatest IoU × score of its class over all raw
    predictions, before anything is suppressed and with objectness, as in VPS (2411.16198); that of a class is its
    probability, of a region its mean probability there. Nothing is divided by the value of the whole image.

    The figure is the area under the values, a trapezoid's as in RISE (1806.07421), (Σ − ½ first − ½ last) / (n − 1):
    over the share of the pixels for ``equal`` areas, over its logarithm for ``octaves``. Maps of small objects are told
    apart by octaves only: with the first of 50 equal areas, 2 % of the image, all of such an object comes or goes.

    Attributes:
        areas: ``equal`` for steps of equal area, or ``octaves``: 1/1024, 1/512, …, 1/2 of the pixels.
        steps: How many steps of equal area.
        baselines: What takes the pixels' place, of :data:`BASELINES`: the image blurred by 5 % of its longer side, or
            black. The first one's figures stand in labels.
        seed: Of the order among pixels of the same heat, and of the control *random*.
        value: What is measured of the model, as the name has it: ``IoU × score`` of boxes, ``probability`` of classes,
            ``mean probability`` of regions.
    """

    areas: str = 'equal'
    steps: int = 50
    baselines: tuple[str, ...] = ('blur',)
    seed: int = 0
    value: str = 'IoU × score'

    def __post_init__(self) -> None:
        if self.areas not in AREAS:
            raise OptionError(f'insertion and deletion by {self.areas!r} areas: expected one of {", ".join(AREAS)}')
        if self.steps < 1:
            raise OptionError(f'insertion and deletion in {self.steps} steps: expected 1 or more')
        if not self.baselines or not set(self.baselines) <= set(BASELINES):
            given = ', '.join(self.baselines) or 'none'
            raise OptionError(f'baselines {given}: expected one or more of {", ".join(BASELINES)}')

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the pixels, 0 to 1 and rising, at which the model is asked."""
        if self.areas == 'octaves':
            return tuple(2.0 ** (number - _OCTAVES) for number in range(_OCTAVES))
        return tuple(number / self.steps for number in range(self.steps + 1))

    @property
    def name(self) -> str:
        """What stands with every figure: ``featmap-1 · IoU × score · 50 equal areas · blur``."""
        areas = f'{self.steps} equal areas' if self.areas == 'equal' else f'{_OCTAVES} octaves of area'
        return f'featmap-1 · {self.value} · {areas} · {" and ".join(self.baselines)}'
