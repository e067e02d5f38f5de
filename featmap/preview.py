"""The layer tree of a model as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from featmap.escaping import escape
from featmap.geometry import Stride
from featmap.layer_tree import LayerInfo
from featmap.tokens import Tokens
from featmap.wording import option as written

_MARK = '●'
_HEADINGS = ('', 'layer', 'type', 'output C×H×W', 'stride', 'parameters', 'calls')
_CUT = ((3, 12), (2, 10), (4, 6))  # columns that may be cut to so many characters, in this order


def print_layers(layers: Sequence[LayerInfo], console: Console | None = None) -> None:
    """Print the layers as a table, one line each, and which to draw.

    A terminal's width is kept to by cutting types and shapes; names are there to be copied and stand whole. What puts
    out maps has a mark.
    """
    console = console or Console()
    rows = [_row(layer) for layer in layers]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows)]
    if console.is_terminal:
        for column, least in _CUT:
            excess = sum(widths) + 2 * len(widths) - console.width
            widths[column] = min(widths[column], max(widths[column] - excess, least))
    table = Table(box=None, pad_edge=False, header_style='bold', padding=(0, 2, 0, 0))
    for title, width in zip(_HEADINGS, widths):
        side: Literal['left', 'right'] = 'right' if title in ('parameters', 'calls') else 'left'
        table.add_column(title, justify=side, no_wrap=True, overflow='ellipsis', width=width)
    for layer, row in zip(layers, rows):
        style = 'bold' if layer.name.count('.') == 0 else ('' if layer.strides else 'dim')
        table.add_row(*(Text(text, style if column == 1 else '') for column, text in enumerate(row)))
    wide = Console(file=console.file, width=sum(widths) + 2 * len(widths), force_terminal=console.is_terminal)
    wide.print(table, crop=False)
    tried = suggestions(layers)
    if tried:
        names = ' '.join(tried)
        wide.print(
            f'{_MARK} puts out maps; try {written("target_layers")} {escape(names)}', markup=False, soft_wrap=True
        )


def _row(layer: LayerInfo) -> tuple[str, ...]:
    return (
        _MARK if layer.strides else '',
        escape(layer.name),
        escape(layer.kind),
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
