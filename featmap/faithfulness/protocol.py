"""How faithfulness is measured: everything that two figures must share before they may be compared."""

from __future__ import annotations

from dataclasses import dataclass

from featmap.errors import OptionError

BASELINES = ('blur', 'black')
"""What takes the place of pixels that are taken away."""


@dataclass(frozen=True)
class Protocol:
    """A way to measure insertion and deletion.

    Pixels of the original image, the most important first, are taken from it (deletion) or put onto the baseline
    (insertion), as many in each step, and the model is asked again. The area under the target's value over the share of
    the pixels is a trapezoid's: (Σ − ½ first − ½ last) / steps, as in RISE (1806.07421). A box's value is the greatest
    IoU × score of its class over all raw predictions, before anything is suppressed and with objectness, as in VPS
    (2411.16198); that of a class is its probability, of a region its mean probability there. Nothing is divided by the
    value of the whole image.

    Attributes:
        steps: In how many steps all pixels are gone.
        baselines: What takes their place, of :data:`BASELINES`: the image blurred by 5 % of its longer side, or black.
            The first one's figures stand in labels.
        seed: Of the order among pixels of the same heat, and of the control *random*.
    """

    steps: int = 50
    baselines: tuple[str, ...] = ('blur',)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f'insertion and deletion in {self.steps} steps: expected 1 or more')
        if not self.baselines or not set(self.baselines) <= set(BASELINES):
            given = ', '.join(self.baselines) or 'none'
            raise OptionError(f'baselines {given}: expected one or more of {", ".join(BASELINES)}')

    @property
    def name(self) -> str:
        """What stands with every figure: ``featmap-1 · IoU × score · 50 equal areas · blur``."""
        return f'featmap-1 · IoU × score · {self.steps} equal areas · {" and ".join(self.baselines)}'
