"""What was measured, as tables for people and JSON for programs. Goals stand beside figures; nothing is judged."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

PACKAGES = ('featmap', 'torch', 'numpy', 'opencv-python', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmyolo')


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: What was done.
        featmap: What this project took; None where it could not run.
        peer: What the other took; None where there is none.
        peer_name: Who or what the other is.
        goal: What this project wants to reach, in words.
        unit: ``ms``, ``s``, ``MB`` or ``/s``.
        ratio_of: ``peer/featmap`` (how many times faster or smaller) or ``featmap/peer`` (how many times as much).
        note: Anything else, such as why there is no figure.
    """

    name: str
    featmap: float | None
    peer: float | None = None
    peer_name: str = ''
    goal: str = ''
    unit: str = 'ms'
    ratio_of: str = 'peer/featmap'
    note: str = ''

    @property
    def ratio(self) -> float | None:
        """The quotient that ``ratio_of`` names."""
        if not self.featmap or not self.peer:
            return None
        return self.peer / self.featmap if self.ratio_of == 'peer/featmap' else self.featmap / self.peer

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**vars(self), 'ratio': self.ratio}


Tables = Mapping[str, Sequence[Row]]


def print_tables(tables: Tables, console: Console) -> None:
    """Print each title with its rows; columns that no row fills are left out."""
    for title, rows in tables.items():
        table = Table(title=title, title_justify='left', title_style='bold')
        table.add_column('what', overflow='fold')
        for head in ('featmap', 'peer', 'ratio'):
            table.add_column(head, justify='right', no_wrap=True)
        for head in ('against', 'goal', 'note'):
            table.add_column(head, overflow='fold')
        for row in rows:
            table.add_row(
                row.name, _figure(row.featmap, row.unit), _figure(row.peer, row.unit), _ratio(row),
                row.peer_name, row.goal, row.note,
            )  # fmt: skip
        filled = [column for column in table.columns if any(cell not in ('', '–') for cell in column.cells)]
        table.columns = [column for column in table.columns if column in filled]
        console.print(table)


def write_json(tables: Tables, path: Path, settings: Mapping[str, Any]) -> None:
    """Write machine, settings and all rows."""
    content = {
        'machine': machine(),
        'settings': dict(settings),
        'tables': {title: [row.as_dict() for row in rows] for title, rows in tables.items()},
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        'python': platform.python_version(),
        'processor': platform.processor() or platform.machine(),
        'cores': os.cpu_count(),
        'load': round(os.getloadavg()[0], 2) if hasattr(os, 'getloadavg') else None,
        'threads': torch.get_num_threads(),
        'cuda': torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        'packages': {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _figure(value: float | None, unit: str) -> str:
    return '–' if value is None else f'{_digits(value)} {unit}'


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return '–'
    return f'{_digits(row.ratio)}x' if row.ratio_of == 'peer/featmap' else f'{row.ratio:.2f} of it'


def _digits(value: float) -> str:
    return f'{value:.3g}' if value < 1000 else f'{value:.0f}'
