"""What is to be explained, as it is asked for: parsed before anything heavy is imported."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from featmap.crop import numbers_in
from featmap.errors import OptionError, nearest
from featmap.options.explain import PARTS
from featmap.wording import option as written

WORDS = ('box', 'boxes', 'top', 'class')
"""What a spec may begin with; targets of one's own add to them."""

_MINUS = '-class:'
_EXPECTED = (
    'box:N for detection N (the first is 0), boxes for each in turn, top for the best, class:NAME or class:NUMBER'
)


@dataclass(frozen=True)
class TargetSpec:
    """What is to be explained, as it was asked for; whether it is there only a forward can tell.

    Attributes:
        name: The target's name in ``TARGETS``.
        text: What stands behind the colon: ``dog``; empty where there is nothing.
        index: Rank of a detection, from 0, of ``box``.
        minus: A second class, which the first is held against, of ``class``.
        part: What of a detection, see :data:`PARTS`.
        box: x1 y1 x2 y2 in pixels of the original, where an object was missed.
        at: X, Y in pixels of the original, where in a segmentation.
        mask: Likewise a region: the path of an image, or an (H, W) array.
        function: The forward's output to a scalar.
    """

    name: str = 'top'
    text: str = ''
    index: int = 0
    minus: str = ''
    part: str = 'score'
    box: tuple[float, float, float, float] | None = None
    at: tuple[float, float] | None = None
    mask: Any = field(default=None, compare=False)
    function: Callable[[Any], Any] | None = None

    def __str__(self) -> str:
        if self.function is not None:
            return getattr(self.function, '__name__', type(self.function).__name__)
        if self.box is not None:
            return ','.join(f'{corner:.10g}' for corner in self.box) + (f' as {self.text}' if self.text else '')
        if self.name == 'box':
            return f'box:{self.index}'
        return self.name + (f':{self.text}' if self.text else '') + (_MINUS + self.minus if self.minus else '')

    @property
    def of_raw(self) -> bool:
        """Whether it is chosen among raw predictions rather than among detections."""
        return self.box is not None


def parse_target(
    explain: Any = None,
    part: str = 'score',
    box: Any = None,
    box_class: str | int | None = None,
    at: Any = None,
    mask: Any = None,
) -> TargetSpec:
    """A spec from what options say.

    Args:
        explain: ``box:0``, ``boxes``, ``top``, ``class:dog``, ``class:16``, ``class:dog-class:cat``, a function from
            the model's output to a scalar, or a spec; None where another option says enough.
        part: What of a detection, see :data:`PARTS`.
        box: ``X1,Y1,X2,Y2`` of an object that was missed, text or four numbers, in pixels of the original.
        box_class: Its class, name or number; None for the class that fits best there.
        at: ``X,Y`` in a segmentation, text or two numbers.
        mask: A region of a segmentation: the path of an image, or an (H, W) array.

    Raises:
        OptionError: where any of these cannot be read, or two of them contradict.
    """
    if part not in PARTS:
        raise _wrong('explain_part', part, f'expected one of {", ".join(PARTS)}', PARTS)
    corners = None if box is None else _numbers('explain_box', box, 4)
    point = None if at is None else _numbers('at', at, 2)
    if corners is None and box_class is not None:
        how = written('explain', f'class:{box_class}')
        raise OptionError(
            f'{written("explain_class", box_class)} goes with {written("explain_box")}; {how} explains it'
        )
    if point is not None and mask is not None:
        raise OptionError(f'{written("at")} and {written("explain_mask")} both say where: give one of them')
    if corners is not None:
        _alone(explain, point, mask)
        if corners[0] >= corners[2] or corners[1] >= corners[3]:
            raise OptionError(f'{written("explain_box", box)} is empty: expected X1,Y1,X2,Y2 with X1 < X2 and Y1 < Y2')
        return TargetSpec('missed', '' if box_class is None else str(box_class), part=part, box=corners)  # type: ignore[arg-type]
    if isinstance(explain, TargetSpec):
        return explain
    if callable(explain):
        if part != 'score' or point is not None or mask is not None:
            said = 'explain_part' if part != 'score' else 'at' if point is not None else 'explain_mask'
            raise OptionError(f'{written(said)} has no effect on a function of the output, which says it all')
        return TargetSpec('function', function=explain)
    if explain is not None and not isinstance(explain, str):
        raise OptionError(f'{written("explain", explain)}: expected {_EXPECTED}, or a function of the output')
    spec = _parsed('top' if explain is None else explain)
    if (point is not None or mask is not None) and spec['name'] not in ('top', 'class'):
        said = 'at' if point is not None else 'explain_mask'
        raise OptionError(f'{written(said)} is about a segmentation, {written("explain", explain)} about detections')
    return TargetSpec(**spec, part=part, at=point, mask=mask)  # type: ignore[arg-type]


def _parsed(text: str) -> dict[str, Any]:
    word, colon, rest = (part.strip() for part in text.strip().partition(':'))
    if word in ('boxes', 'top') and not colon:
        return {'name': word}
    if word == 'box' and re.fullmatch(r'\d{1,6}', rest):
        return {'name': 'box', 'index': int(rest)}
    if word == 'class' and rest:
        first, _, second = (part.strip() for part in rest.partition(_MINUS))
        if first and (second or _MINUS not in rest):
            return {'name': 'class', 'text': first, 'minus': second}
    if word and word not in WORDS and _is_registered(word):
        return {'name': word, 'text': rest}
    near = [guess for guess in nearest(word, WORDS, 1) if word not in WORDS]
    shown = {'box': 'box:0', 'class': 'class:NAME'}
    hint = f'; nearest: {shown.get(near[0], near[0])}' if near else ''
    if near and not colon and not difflib.get_close_matches(word, WORDS, 1):
        hint = f'; a class is class:{word}'
    raise OptionError(f'{written("explain", text)}: expected {_EXPECTED}{hint}')


def _is_registered(word: str) -> bool:
    """Whether someone has registered a target of this name; those that come with featmap were asked for before."""
    from featmap.registry import TARGETS

    return word in TARGETS.module_dict


def _alone(explain: Any, at: Any, mask: Any) -> None:
    for name, value in (('explain', explain), ('at', at), ('explain_mask', mask)):
        if value is not None:
            raise OptionError(f'{written("explain_box")} and {written(name)} both say what is explained: give one')


def _numbers(name: str, value: Any, count: int) -> tuple[float, ...]:
    found = numbers_in(value, count)
    if not found:
        what = 'X1,Y1,X2,Y2' if count == 4 else 'X,Y'
        raise OptionError(f'{written(name, value)}: expected {what} in pixels of the image')
    return found


def _wrong(name: str, value: Any, expected: str, known: Sequence[str]) -> OptionError:
    near = ', '.join(nearest(str(value), known, 2))
    return OptionError(f'{written(name, value)}: {expected}; nearest: {near}')
