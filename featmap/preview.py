"""The layer tree of a model as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from featmap.default_layers import Default
from featmap.escaping import escape
from featmap.folding import Line, fold
from featmap.geometry import Stride
from featmap.layer_tree import LayerInfo
from featmap.tokens import Tokens
from featmap.wording import option as written

_MARK = '●'
_HEADINGS = ('', 'layer', 'type', 'output C×H×W', 'stride', 'parameters', 'calls')
_CUT = ((3, 12), (2, 10), (4, 6))  # columns that may be cut to so many characters, in this order


def print_layers(
    layers: Sequence[LayerInfo],
    console: Console | None = None,
    depth: int | str | None = 'all',
    default: Default | None = None,
) -> None:
    """Print the layers as a table, one line each, and which to draw.

    A terminal's width is kept to by cutting types and shapes; names are there to be copied and stand whole. What puts
    out maps has a mark.

    Args:
        layers: The layers, parents before children.
        console: Where to; standard output by default.
        depth: How many levels to show, or ``all``; None for as many as fit 100 lines.
        default: What is drawn where no layers are named.
    """
    console = console or Console()
    lines = [Line(layer) for layer in layers] if depth == 'all' else fold(layers, None if depth is None else int(depth))
    rows = [_row(line) for line in lines]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows)]
    if console.is_terminal:
        for column, least in _CUT:
            excess = sum(widths) + 2 * len(widths) - console.width
            widths[column] = min(widths[column], max(widths[column] - excess, least))
    table = Table(box=None, pad_edge=False, header_style='bold', padding=(0, 2, 0, 0))
    for title, width in zip(_HEADINGS, widths):
        side: Literal['left', 'right'] = 'right' if title in ('parameters', 'calls') else 'left'
        table.add_column(title, justify=side, no_wrap=True, overflow='ellipsis', width=width)
    for line, row in zip(lines, rows):
        style = 'bold' if line.layer.name.count('.') == 0 else ('' if line.layer.strides else 'dim')
        table.add_row(*(Text(text, style if column == 1 else '') for column, text in enumerate(row)))
    wide = Console(file=console.file, width=sum(widths) + 2 * len(widths), force_terminal=console.is_terminal)
    wide.print(table, crop=False)
    for text in _notes(layers, lines, default):
        wide.print(text, markup=False, soft_wrap=True)


def _notes(layers: Sequence[LayerInfo], lines: Sequence[Line], default: Default | None) -> Iterator[str]:
    """What is said below the table."""
    if default is not None and default.why:
        yield f'{_MARK} puts out maps; drawn without {written("target_layers")}: {escape(str(default))}'
    elif tried := suggestions(layers):
        yield f'{_MARK} puts out maps; try {written("target_layers")} {escape(" ".join(tried))}'
    folded = [line for line in lines if line.hidden]
    if folded:
        part = written('target_layers', max(folded, key=lambda line: line.hidden).layer.name)
        yield f'{len(lines)} of {len(layers)} layers; {written("preview_depth", "all")} or {escape(part)} unfolds'


def _row(line: Line) -> tuple[str, ...]:
    layer = line.layer
    return (
        _MARK if layer.strides else '',
        escape(layer.name),
        escape(layer.kind) + (f' ({line.hidden} inside)' if line.hidden else ''),
        ', '.join(_shape(*each) for each in zip_longest(layer.shapes, layer.tokens)) or '–',
        ', '.join(f'{"" if layer.known else "≈"}{stride}' for stride in _distinct(layer.strides)) or '–',
        f'{layer.parameters:,}',
        str(layer.calls) if layer.calls else 'never',
    )


def _shape(shape: tuple[int, ...], tokens: Tokens | None) -> str:
    """C×H×W, and of which tokens that was made."""
    text = '×'.join(map(str, shape))
    return text if tokens is None else f'{text} ({tokens.describe((shape[1], shape[2]))})'


def suggestions(layers: Sequence[LayerInfo], count: int = 6) -> list[str]:
    """Layers worth drawing: those nearest to the top that ran and put out maps."""
    drawable = [layer.name for layer in layers if layer.calls and layer.strides]
    highest = [name for name in drawable if not any(name.startswith(f'{other}.') for other in drawable)]
    # A head's outputs are drawn by name, and are read last.
    return sorted(highest, key=lambda name: ('head' in name, name.count('.')))[:count]


def _distinct(strides: Sequence[Stride]) -> Iterator[str]:
    return iter(dict.fromkeys(f'{sy:.3g}' if sy == sx else f'{sy:.3g}×{sx:.3g}' for sy, sx in strides))
