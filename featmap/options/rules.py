"""When an option would have no effect: rules that the declarations name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from featmap.options.declare import Rule
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.options.run import Run


def reducers_in(reduction: Any) -> list[Any]:
    """The names of all reducers that a ``channel_reduction`` holds, in the order in which they are applied."""
    if isinstance(reduction, (list, tuple)):
        return [kind for step in reduction for kind in reducers_in(step)]
    kind = reduction.get('type') if isinstance(reduction, Mapping) else reduction
    return [kind.removeprefix('featmap.') if isinstance(kind, str) else kind]


def with_reducer(*names: str | None, panel: str | None = None) -> Rule:
    """It is read by some reducers only, and by what makes a panel, where one is named."""

    def why(run: Run) -> str | None:
        chosen = reducers_in(run.what.channel_reduction)
        if any(kind in names for kind in chosen) or panel in run.look.panels:
            return None
        wanted = ' or '.join([*map(str, names), *([written('panels', [panel])] if panel else [])])
        return f'goes with {written("channel_reduction")} {wanted}, got {", ".join(map(str, chosen))}'

    return Rule('channel_reduction', why)


def not_with_reducer(*names: str, because: str = 'whose colours are its own', in_figures: bool = False) -> Rule:
    """It has no effect with some reducers, unless there is a figure where it has one there."""

    def why(run: Run) -> str | None:
        last = _last(run.what.channel_reduction)
        kind = reducers_in(last)[-1] if last != [] else None
        if kind == 'pca' and _as_planes(last, run.what.components):
            kind = 'pca as planes'
        if kind is None and run.what.topk < 0:
            kind = 'as_image'
        if kind not in names or (in_figures and run.output.figure is not None):
            return None
        chosen = ('topk', -1) if last is None else ('channel_reduction', kind.partition(' ')[0])
        return f'has no effect with {written(*chosen)}, {because}'

    return Rule('channel_reduction', why)


def _last(reduction: Any) -> Any:
    return _last(reduction[-1]) if isinstance(reduction, (list, tuple)) and reduction else reduction


def _as_planes(pca: Any, components: int | None) -> bool:
    """Whether components are drawn as planes on a colour scale, rather than three as one picture."""
    said = pca if isinstance(pca, Mapping) else {}
    return said.get('as_rgb') is False or said.get('k', components) not in (None, 3)


def _similar_to_what(run: Run) -> str | None:
    if run.what.query is not None or 'similarity' not in reducers_in(run.what.channel_reduction):
        return None
    return f'similarity is to a pixel of the image: {written("query")} X,Y says which'


SIMILAR_TO = Rule('query', _similar_to_what)
"""Similarity is to something."""


def with_option(name: str) -> Rule:
    """It says more of another option, which has to be given."""

    def why(run: Run) -> str | None:
        return None if run.asks(name) else f'goes with {written(name)}'

    return Rule(name, why)


def without_option(name: str) -> Rule:
    """Another option does all of it instead."""

    def why(run: Run) -> str | None:
        return f'has no effect with {written(name)}' if run.asks(name) else None

    return Rule(name, why)


def _with_boxes(run: Run) -> str | None:
    return None if run.what.boxes else f'has no effect with {written("boxes", False)}'


WITH_BOXES = Rule('boxes', _with_boxes)
"""It is about detections."""


def _over_image(run: Run) -> str | None:
    if run.what.overlay == 'image' or run.what.gt is None:
        return None
    return f'{run.what.overlay} does not go with {written("gt")}, whose boxes are in pixels of the image'


OVER_IMAGE = Rule('gt', _over_image)
"""Ground truth lies over the image."""


def _opaque(run: Run) -> str | None:
    if run.look.background != 'none':
        return None
    return f'has no effect with {written("background", "none")}, over which the heat is opaque'


THROUGH = Rule('background', _opaque)
"""It is about what shows through the heat."""


def _crop_to_a_box(run: Run) -> str | None:
    if run.what.boxes or not (run.look.crop or '').startswith('box:'):
        return None
    return f'{run.look.crop} needs detections, and has none with {written("boxes", False)}'


CROP_WITH_BOXES = Rule('boxes', _crop_to_a_box)
"""A crop to a detection needs detections."""


def _suffix_says(run: Run) -> str | None:
    if run.output.out_file in (None, '-'):
        shown = run.output.show and not (run.output.out_file or run.output.out_dir)
        return f'has no effect with {written("show")}, which alone writes no file' if shown else None
    return f'is for folders: the name {run.output.out_file!r} says the format'


FOR_FOLDERS = Rule('out_file', _suffix_says)
"""The name of a single result says it itself."""


def _lossless(run: Run) -> str | None:
    name = (run.output.out_file or '').lower()
    lossy = ('jpg', 'jpeg', 'webp')
    named = name.rpartition('.')[2] if '.' in name else run.output.format
    return None if named in lossy else f'goes with {written("format")} jpg or webp, or a name that ends so'


LOSSY = Rule('format', _lossless)
"""It is about formats that lose something."""
