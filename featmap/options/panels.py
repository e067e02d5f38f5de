"""Rows of panels: what they are called, and which options are about which of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from featmap.options.declare import Rule
from featmap.options.kinds import Kind
from featmap.options.rules import not_with_reducer
from featmap.wording import option as written

if TYPE_CHECKING:
    from featmap.options.run import Run

PANELS = ('grey', 'heat', 'overlay', 'pca')
"""The ways in which a row of panels shows a map."""


def _panels(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value if isinstance(value, Iterable) else (value,))
    if not all(each in PANELS for each in found) or len(set(found)) < len(found):
        raise ValueError(f'expected some of {", ".join(PANELS)}, each once')
    return found


PANEL_NAMES = Kind(_panels, 'P', many=True)
"""Some of :data:`PANELS`, in the order given."""


def _own_colors(run: Run) -> str | None:
    last = not_with_reducer('pca', 'kmeans').why(run) if 'grey' in run.look.panels else None
    return last and f'grey {last}'


NO_GREY = Rule('channel_reduction', _own_colors)
"""Grey levels take values on a scale."""


def in_panels(*names: str) -> Rule:
    """It is about some of the panels of a row, where there are rows."""

    def why(run: Run) -> str | None:
        shown = run.look.panels
        if not shown or any(name in shown for name in names):
            return None
        return f'has no effect with {written("panels", shown)}: it is about {" or ".join(names)}'

    return Rule('panels', why)


def _in_rows(run: Run) -> str | None:
    return f'has no effect with {written("panels")}, where each plane has a row' if run.look.panels else None


NOT_IN_ROWS = Rule('panels', _in_rows)
"""It is about where planes stand."""


def _into_files(run: Run) -> str | None:
    output = run.output
    if output.out_file == '-':
        return f'makes several files, and {written("out_file", "-")} takes one picture: use {written("out_dir")}'
    alone = output.show and not output.out_file and not output.out_dir
    return f'has no effect with {written("show")}, which alone writes no file' if alone else None


INTO_FILES = Rule('out_file', _into_files)
"""It is about files."""


def _bare(run: Run) -> str | None:
    if not run.output.split or run.output.show or run.output.figure or run.output.vis_backends:
        return None
    return f'has no effect with {written("split")}: single panels are bare'


BARE = Rule('split', _bare)
"""It is about what stands around panels."""
