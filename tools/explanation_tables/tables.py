"""Records as Markdown, with intervals by the bootstrap, and where in a page they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from explanation_tables.records import Record
from featmap.errors import ConfigError

RESAMPLES = 2000
COLUMNS: tuple[tuple[str, str, int], ...] = (
    ('insertion − deletion', 'gap', 3),
    ('insertion', 'insertion', 3),
    ('deletion', 'deletion', 3),
    ('heat in the box', 'energy', 3),
    ('in other boxes', 'others', 3),
    ('maximum in the box', 'pointing', 3),
)


class Estimate(NamedTuple):
    """A mean over targets with its 95 % interval."""

    mean: float
    low: float
    high: float
    targets: int
    images: int

    def text(self, digits: int = 3) -> str:
        """``0.731 (0.712 … 0.749)``; the mean alone where all values are the same."""
        mean, low, high = (f'{value:.{digits}f}'.replace('-', '−') for value in self[:3])
        return mean if low == high else f'{mean} ({low} … {high})'


def estimate(found: Sequence[tuple[float, str]], seed: int = 0) -> Estimate | None:
    """The mean of some targets' values and its 95 % interval: the percentile bootstrap over images.

    Targets of an image are alike, so that images are drawn, each with all of its targets.

    Args:
        found: The value of each target, and the image that it is of.
        seed: Of the draws.

    Returns:
        None of no targets.
    """
    if not found:
        return None
    values, images = [value for value, _ in found], [image for _, image in found]
    names, places = np.unique(np.asarray(images), return_inverse=True)
    sums = np.bincount(places, np.asarray(values, np.float64), len(names))
    counts = np.bincount(places, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(float(np.mean(values)), float(low), float(high), len(values), len(names))


def markdown(records: Iterable[Record], against: str = 'box', order: Sequence[str] = ()) -> str:
    """A table: a row a map, by what it gains over a control first.

    Args:
        records: What was measured.
        against: The control whose insertion − deletion is taken from each map's, target by target.
        order: Names of maps that come last, such as the controls.
    """
    rows: dict[str, list[Record]] = {}
    for record in records:
        rows.setdefault(record.map, []).append(record)
    base = {(record.image, record.target): record.gap for record in rows.get(against, ()) if record.gap is not None}

    def gain(found: Sequence[Record]) -> Estimate | None:
        pairs = [
            (record.gap - base[where], record.image)
            for record in found
            if (where := (record.image, record.target)) in base and record.gap is not None
        ]
        return estimate(pairs)

    shown = [
        column
        for column in COLUMNS
        if any(getattr(record, column[1]) is not None for each in rows.values() for record in each)
    ]
    counted = any(record.gap is not None for each in rows.values() for record in each)
    lines = []
    for name, found in rows.items():
        above = gain(found)
        cells = [_cell(found, column[1], column[2]) for column in shown]
        if base:
            cells.insert(min(1, len(cells)), '0' if name == against else above.text() if above else '')
        curves = [record for record in found if record.gap is not None]
        cells.append(f'{len(found)} in {len({record.image for record in found})}')
        if counted:
            cells.append(f'{len(curves)} in {len({record.image for record in curves})}' if curves else '—')
        lines.append((name in order, -(above.mean if above else -9), -_mean(found, 'energy'), [f'`{name}`', *cells]))
    titles = [column[0] for column in shown]
    if base:
        titles.insert(min(1, len(titles)), f'above that of the {against}')
    titles = ['map', *titles, 'targets', *(['of which curves'] if counted else [])]
    body = [' | '.join(line[-1]) for line in sorted(lines, key=lambda line: line[:3])]
    return '\n'.join(f'| {row} |' for row in [' | '.join(titles), ' | '.join(['---'] * len(titles)), *body])


def _cell(found: Sequence[Record], name: str, digits: int) -> str:
    known = [(value, record.image) for record in found if (value := getattr(record, name)) is not None]
    made = estimate(known)
    return made.text(digits) if made else ''


def _mean(found: Sequence[Record], name: str) -> float:
    known = [value for record in found if (value := getattr(record, name)) is not None]
    return float(np.mean(known)) if known else 0.0


def insert(page: Path, name: str, text: str) -> None:
    """Put text between ``<!-- NAME: … -->`` and ``<!-- end of NAME -->`` of a page, in the place of what stands there.

    Raises:
        ConfigError: the page has no such marks.
    """
    content = page.read_text(encoding='utf-8')
    pattern = re.compile(rf'(<!-- {re.escape(name)}:[^>]*-->\n).*?(<!-- end of {re.escape(name)} -->)', re.DOTALL)
    if not pattern.search(content):
        raise ConfigError(f'{str(page)!r} has no marks <!-- {name}: … --> and <!-- end of {name} -->')
    fill: Callable[[re.Match[str]], str] = lambda match: f'{match[1]}{text.strip()}\n{match[2]}'  # noqa: E731
    page.write_text(pattern.sub(fill, content), encoding='utf-8')
