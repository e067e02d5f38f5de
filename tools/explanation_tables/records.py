"""What was measured, a line of JSON each: appended image by image, so that a rerun goes on where one ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featmap.errors import ConfigError


@dataclass(frozen=True)
class Record:
    """One map of one target.

    Attributes:
        image: The image's name.
        target: Number of the target in its image.
        targets: How many the image has.
        label: What was explained.
        map: Which map, such as ``layercam @ backbone.stage2``, or the name of a control.
        share: The target's share of the image, 0 to 1; None where it has no place.
        value: The target's value in the whole image; None where no curves were measured, and so are the areas.
        energy: The share of the heat inside.
        others: The share of the heat on objects that is on other ones.
        pointing: Whether the maximum is inside.
        insertion: The area under insertion, of the protocol's first baseline.
        deletion: The area under deletion.
        more: The areas with other baselines, by their names: insertion and deletion.
    """

    image: str
    target: int
    targets: int
    label: str
    map: str
    share: float | None = None
    value: float | None = None
    energy: float | None = None
    others: float | None = None
    pointing: float | None = None
    insertion: float | None = None
    deletion: float | None = None
    more: dict[str, list[float]] | None = None

    @property
    def gap(self) -> float | None:
        """Insertion − deletion."""
        return None if self.insertion is None or self.deletion is None else self.insertion - self.deletion


class Records:
    """A file of records behind a head that says how they were made.

    Args:
        path: The file; it is made where there is none.
        head: What must be the same for all of its records: protocol, model, score threshold, …

    Raises:
        ConfigError: the file's records were made otherwise.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        found, records = read_records(path) if path.exists() else (None, [])
        self._known: dict[tuple[str, str], dict[int, Record]] = {}
        self.take(records)
        if found is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write([head], 'w')
        elif found != head:
            names = sorted(name for name in {*found, *head} if found.get(name) != head.get(name))
            told = '; '.join(f'{name} {found.get(name)!r} there, {head.get(name)!r} here' for name in names)
            raise ConfigError(f'{str(path)!r} was measured otherwise: {told}; give another --out, or remove it')
        elif path.read_bytes()[-1:] != b'\n':  # the last run was stopped in the middle of a line
            self._write([found, *map(_plain, self)], 'w')

    def missing(self, image: str, map_name: str, curves: int | None) -> bool:
        """Whether an image has no record of a map yet, or fewer than ``curves`` targets with curves; None for all."""
        known = self._known.get((image, map_name), {}).values()
        count = max((record.targets for record in known), default=1)
        wanted = count if curves is None else min(curves, count)
        return len(known) < count or sum(record.value is not None for record in known) < wanted

    def add(self, records: Iterable[Record]) -> None:
        """Append the records of an image, at once.

        Of the same target and map the last counts, but none without curves in the place of one that has them.
        """
        new = list(records)
        self.take(new)
        self._write([_plain(record) for record in new], 'a')

    def __iter__(self) -> Iterator[Record]:
        for of_map in self._known.values():
            yield from of_map.values()

    def take(self, records: Iterable[Record]) -> None:
        """Have further records, without writing them; see :meth:`add`."""
        for record in records:
            known = self._known.setdefault((record.image, record.map), {})
            if record.value is not None or record.target not in known or known[record.target].value is None:
                known[record.target] = record

    def _write(self, lines: Iterable[dict[str, Any]], mode: str) -> None:
        text = ''.join(json.dumps(line, ensure_ascii=False, allow_nan=False) + '\n' for line in lines)
        with self.path.open(mode, encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def read_records(path: Path) -> tuple[dict[str, Any] | None, list[Record]]:
    """The head and the records of a file, in its order; a last line that was cut off is left out."""
    lines = path.read_text(encoding='utf-8').split('\n')
    whole = [json.loads(line) for line in lines[:-1] if line]
    return (whole[0] if whole else None), [Record(**line) for line in whole[1:]]


def _plain(record: Record) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if value is not None}
