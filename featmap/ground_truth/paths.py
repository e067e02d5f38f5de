"""Which labels belong to an image, by the path of both."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from featmap.errors import SourceError


class PathIndex:
    """Paths of labels, or of images in a list of labels, by their last part.

    Args:
        paths: The paths, with ``/``.
        origin: What they come from, for messages.
        with_suffix: Whether images are told by their names with the suffix, as in a list, or without, as labels are.
    """

    def __init__(self, paths: Iterable[str], origin: str, with_suffix: bool) -> None:
        self.origin = origin
        self.with_suffix = with_suffix
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            self._by_name.setdefault(self._parts(path)[0], []).append(path)

    def nearest(self, location: str) -> str | None:
        """The path that ends most like an image's path or URL, in the file's name at least; None where there is none.

        A folder ``labels`` stands for a folder ``images``.

        Raises:
            SourceError: where several end equally like it.
        """
        wanted = self._parts(location)
        known = self._by_name.get(wanted[0], [])
        shared = [_shared(self._parts(path), wanted) for path in known]
        best = [path for path, count in zip(known, shared) if count == max(shared)]
        if len(best) > 1:
            raise SourceError(
                f'the ground truth {self.origin!r} has {len(best)} entries that {location!r} may be: '
                f'{", ".join(best[:3])}; give more of its path'
            )
        return best[0] if best else None

    def _parts(self, location: str) -> list[str]:
        """The parts of a path or URL, last first."""
        if location.lower().startswith(('http://', 'https://')):
            location = unquote(urlsplit(location).path)
        path = PurePosixPath(location.replace(os.sep, '/').replace('\\', '/'))
        name = path.name if self.with_suffix else path.stem
        return [name, *('images' if part == 'labels' else part for part in reversed(path.parts[:-1]))]


def _shared(parts: list[str], others: list[str]) -> int:
    count = 0
    for part, other in zip(parts, others):
        if part != other:
            break
        count += 1
    return count
