"""Every panel in a file of its own, ``NAME.layer.panel.png``, and what each is in ``NAME.panels.json``."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featmap.errors import OutputError
from featmap.sinks import exact_file, save_images
from featmap.writing import refuse_overwriting, write_atomically

if TYPE_CHECKING:
    import numpy as np

    from featmap.singles import Singles

ORIGINAL = '.original'
"""Between the name of an image and the suffix, in the name of the file that shows it."""


def original_file(path: Path) -> Path:
    """The file of the original, of a picture's: ``dog.original.png`` of ``dog.png``."""
    return path.with_name(f'{path.stem}{ORIGINAL}{path.suffix}')


def save_singles(
    singles: Singles,
    original: Path,
    taken: Collection[Path] = (),
    read: Mapping[str, str] | None = None,
    quality: int = 95,
) -> list[Path]:
    """Write every panel, and last a JSON document that says what each shows and on which range.

    Args:
        singles: The panels.
        original: The file of the first of them, such as ``dog.original.png``: by it the others are called. ``.png`` is
            added where it has no suffix.
        taken: Resolved paths that no other file may overwrite, such as those of other images.
        read: What is read, see :func:`featmap.writing.refuse_overwriting`.
        quality: Of JPEG and WebP, 1 to 100.

    Returns:
        The paths of all files, the document's last.

    Raises:
        OutputError: before anything is written, where a file would overwrite one of them; or where writing fails.
    """
    original = exact_file(original)
    stem, suffix = original.stem.removesuffix(ORIGINAL), original.suffix
    files = [original.with_name(f'{stem}.{name}{suffix}') for name in singles]
    document = original.with_name(f'{stem}.panels.json')
    for file in [*files[1:], document]:
        if taken and file.resolve() in taken:
            raise OutputError(f'the panel {str(file)!r} would overwrite a file of this run: choose another name')
    refuse_overwriting([*files, document], read or {})
    entries: list[dict[str, Any]] = []

    def drawn() -> Iterator[tuple[np.ndarray, Path]]:
        for single, file in zip(singles.draw(), files):
            entries.append({'file': file.name, **single.about})
            yield single.image, file

    written = save_images(drawn(), quality)
    text = json.dumps({'panels': entries}, indent=1, ensure_ascii=False) + '\n'
    write_atomically(document, text.encode('utf-8', errors='backslashreplace'))
    return [*written, document]
