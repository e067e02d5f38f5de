"""What a run can write beside its pictures: figures, raw maps, raw features, the basis of ``pca``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featmap.arrays import sidecar_of
from featmap.errors import OptionError, OutputError
from featmap.options.groups import Output
from featmap.sinks import plan_outputs
from featmap.sources import Source
from featmap.wording import option as written
from featmap.writing import write_atomically

_SUFFIXES = {
    'figure': ('.pdf', '.svg', '.png'),
    'save_maps': ('.npz', '.safetensors'),
    'save_features': ('.npz', '.safetensors'),
    'save_basis': ('.npz',),
}


class Extras:
    """Plans and writes the extra files of a run.

    For one image each goes exactly where it was asked for. For several, ``F.pdf`` becomes a folder ``F`` in which the
    images' folder structure is mirrored.

    Args:
        output: Where the results of the run go.
        sources: The images of the run.

    Raises:
        OutputError: for a suffix that stands for no known format.
        OptionError: for an unknown style of figures.
    """

    def __init__(self, output: Output, sources: Sequence[Source]) -> None:
        self.output = output
        self._paths: dict[str, list[Path]] = {}
        for name, suffixes in _SUFFIXES.items():
            asked = getattr(output, name)
            if asked is None:
                continue
            path = Path(asked).expanduser()
            if path.suffix.lower() not in suffixes:
                raise OutputError(f'{written(name, asked)}: expected a name that ends in {" or ".join(suffixes)}')
            if len(sources) == 1 or name == 'save_basis':
                planned = [path]
            else:
                pages = plan_outputs(sources, out_dir=path.with_suffix(''))
                planned = [page.with_suffix(path.suffix) for page in pages]
            self._paths[name] = planned
        if output.figure_style:  # a slip in its name should not cost the loading of a model
            from featmap.figure.style import settings_of

            settings_of(output.figure_style)

    def plan(self, pictures: Sequence[Path]) -> list[Path]:
        """Every file that the run will write: the pictures and the extra ones.

        Raises:
            OptionError: where two options name the same file.
        """
        asked: dict[str, str] = {}
        for name, paths in {'out_file': pictures, **self._paths}.items():
            flag = written(name)
            for path in paths:
                first = asked.setdefault(os.path.realpath(path), flag)
                if first != flag:
                    raise OptionError(f'{first} and {flag} name the same file, {str(path)!r}: give each its own')
        sidecars = [sidecar_of(path) for name in ('save_maps', 'save_features') for path in self._paths.get(name, ())]
        return [*pictures, *(path for paths in self._paths.values() for path in paths), *sidecars]

    def save(self, inferencer: Any, result: Any, number: int) -> list[Path]:
        """Write what was asked for of the image of this number in the run, and return the files."""
        written = []
        if 'figure' in self._paths:
            from featmap.figure import write_figure

            path = self._paths['figure'][number]
            write_figure(path, result.figure(**self._figure_options()))
            written.append(path)
        for name in ('save_maps', 'save_features'):
            if name in self._paths:
                from featmap.storage import save_maps

                path = self._paths[name][number]
                save_maps(path, inferencer.record(result), features=name == 'save_features')
                written.append(path)
        return written

    def _figure_options(self) -> dict[str, Any]:
        chosen = self.output
        return {
            'title': chosen.figure_title or '',
            'dpi': chosen.dpi,
            'width': chosen.figure_width,
            'columns': chosen.columns,
            'font_size': chosen.font_size,
            'style': chosen.figure_style,
        }

    def save_basis(self, inferencer: Any) -> list[Path]:
        """Write the basis that was fitted on the run, if it was asked for, and return its path."""
        if 'save_basis' in self._paths:
            if not hasattr(inferencer.reducer, 'dump'):
                raise OptionError(f'{written("save_basis")} goes with {written("channel_reduction", "pca")}')
            path = self._paths['save_basis'][0]
            write_atomically(path, inferencer.reducer.dump())
            return [path]
        return []
