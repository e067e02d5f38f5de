"""The options that say what is explained, how, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmap.crop import numbers_in
from featmap.options.declare import CALLER, Rule, option
from featmap.options.kinds import FLAG, Kind, names, one_of, read_file, text, whole
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.options.run import Run

ASKING = ('explain', 'explain_box', 'at', 'explain_mask')
"""The options of which each asks for an explanation by itself."""
SIDES = ('left', 'top', 'right', 'bottom')
"""The sides of a box, in the order of its numbers x1 y1 x2 y2."""
PARTS = ('score', 'class', 'objectness', *SIDES, 'all')
"""What of a detection is explained."""
FUSIONS = ('mean', 'max', 'product', 'none')
"""How the heats of several layers become one; each is divided by its own maximum first. ``none`` leaves them apart."""

WITHOUT = (
    'channels', 'query', 'components', 'topk', 'abs', 'basis', 'channel_reduction', 'panels', 'arrangement', 'norm',
    'symmetric', 'placement', 'overlay', 'gt', 'columns', 'save_features', 'save_basis', 'boxes',
)  # fmt: skip
"""What is about feature maps alone; an option that chooses another one's value stands before that one."""


def _spec(value: Any) -> Any:
    if callable(value):
        return value
    return text('SPEC', 'box:0, boxes, top, class:dog, or in Python a function of the output').read(value)


def _numbers(value: Any, count: int, fits: Callable[..., bool], expected: str) -> tuple[float, ...]:
    found = numbers_in(value, count)
    if not found or not all(abs(each) < 1e9 for each in found) or not fits(*found):
        raise ValueError(f'expected {expected}')
    return found


_BOX = Kind(
    lambda value: _numbers(
        value, 4, lambda x1, y1, x2, y2: x1 < x2 and y1 < y2,
        'X1,Y1,X2,Y2 in pixels of the image with X1 < X2 and Y1 < Y2',
    ),
    'X1,Y1,X2,Y2',
)  # fmt: skip
_POINT = Kind(lambda value: _numbers(value, 2, lambda x, y: True, 'X,Y in pixels of the image, such as 312,200'), 'X,Y')


def _asked(run: Run) -> str | None:
    return None if run.explains else f'goes with {written("explain")}'


_EXPLAINED = Rule('explain', _asked)
"""It says more of an explanation, which has to be asked for."""


def _with_box(run: Run) -> str | None:
    if run.explain.explain_box is not None:
        return None
    how = written('explain', f'class:{run.explain.explain_class}')
    return f'goes with {written("explain_box")}; {how} explains what was found'


def _alone(run: Run) -> str | None:
    other = next((name for name in ASKING if name != 'explain_box' and run.asks(name)), None)
    return other and f'says what is explained, and so does {written(other)}: give one of them'


def _with_drise(run: Run) -> str | None:
    return None if 'drise' in run.explain.method else f'goes with {written("method", ["drise"])}'


def _with_faithfulness(run: Run) -> str | None:
    return None if run.explain.faithfulness else f'goes with {written("faithfulness")}'


def _one_region(run: Run) -> str | None:
    return f'and {written("explain_mask")} both say where: give one of them' if run.explain.explain_mask else None


@dataclass(frozen=True)
class Explain:
    """Why this box."""

    explain: Any = option(
        None, Kind(_spec, 'SPEC'),
        'instead of feature maps, what speaks for a detection (`box:0`, the first; `boxes`, each in turn; `top`, the '
        'best), for a class (`class:dog`, `class:16`; of a detector all of its detections), or for one class rather '
        'than another (`class:dog-class:cat`)',
        places=CALLER,
    )  # fmt: skip
    explain_part: str = option(
        'score', one_of('PART', *PARTS),
        'what of a detection: its `score`, `class`, `objectness`, where its `left`, `top`, `right` or `bottom` side '
        'is, or `all` of it', '`score`', rules=(_EXPLAINED,),
    )  # fmt: skip
    explain_box: tuple[float, float, float, float] | None = option(
        None, _BOX,
        'an object that was missed, in pixels of the image: the raw prediction that fits best, and why it was not '
        'shown',
        places=CALLER, rules=(Rule('explain', _alone),),
    )  # fmt: skip
    explain_class: str | None = option(
        None, text('CLASS', 'the name of a class, or its number'), 'of `--explain-box`: what it is',
        'the best class there', CALLER, (Rule('explain_box', _with_box),),
    )  # fmt: skip
    at: tuple[float, float] | None = option(
        None, _POINT, 'of a segmentation: the class at this pixel of the image, or what `--explain` says of it',
        places=CALLER, rules=(Rule('explain_mask', _one_region),),
    )  # fmt: skip
    explain_mask: str | None = option(
        None, read_file('MASK'), 'likewise, over a region: an image of the same size, white where it lies',
        places=CALLER,
    )  # fmt: skip
    method: tuple[str, ...] = option(
        (), names('NAME', 'at least one method, such as layercam'),
        'how: `layercam`, `odam`, `hirescam`, `gradcam`, `integrated_gradients`, `drise`, `attention` and others, see '
        '`docs/explanations.md`; several stand side by side', 'what measured best', rules=(_EXPLAINED,),
    )  # fmt: skip
    fuse: str | None = option(
        None, one_of('F', *FUSIONS),
        'how the maps of several layers, each with a maximum of 1, become one: `mean`, `max`, `product`; `none` draws '
        'each', 'what measured best', rules=(_EXPLAINED,),
    )  # fmt: skip
    zoom: bool = option(False, FLAG, 'a further panel, zoomed onto the box', rules=(_EXPLAINED,))
    faithfulness: bool = option(
        False, FLAG,
        'also measure whether it holds: what becomes of the score as the most important pixels are removed, or alone '
        'kept, and how much of the heat lies in the box; the curves are in `--figure`', rules=(_EXPLAINED,),
    )  # fmt: skip
    areas: str = option(
        'equal', one_of('A', 'equal', 'octaves'),
        'of `--faithfulness`: pixels go and come by 50 `equal` areas, or by `octaves`, 1/1024 to 1/2 of the image, '
        'which tell small objects apart and take a fifth of the time', '`equal`',
        rules=(Rule('faithfulness', _with_faithfulness),),
    )  # fmt: skip
    masks: int = option(
        2000, whole('N', 'how many masks, 2 or more', lambda n: n >= 2), 'how many masks `drise` tries at most',
        '2000', rules=(Rule('method', _with_drise),),
    )  # fmt: skip
    seed: int = option(
        0, whole('N', 'a whole number from 0 up', lambda n: 0 <= n < 2**63), 'of what is drawn by lot', '0',
        rules=(_EXPLAINED,),
    )  # fmt: skip
    batch_size: int | None = option(
        None, whole('N', '1 or more', lambda n: n >= 1), 'how many changed images go through the model at once',
        '8, on a GPU 32', rules=(_EXPLAINED,),
    )  # fmt: skip

    @property
    def asked(self) -> bool:
        """Whether anything is to be explained."""
        return any(getattr(self, name) is not None for name in ASKING)
