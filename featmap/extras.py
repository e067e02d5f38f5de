"""What a run can write beside its pictures: figures, raw maps, raw features, the basis of ``pca``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featmap.errors import OptionError, OutputError
from featmap.sinks import plan_outputs, write_atomically
from featmap.sources import Source

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
        given: The parsed arguments.
        sources: The images of the run.

    Raises:
        OutputError: for a suffix that stands for no known format.
    """

    def __init__(self, given: dict[str, Any], sources: Sequence[Source]) -> None:
        self.given = given
        self._paths: dict[str, list[Path]] = {}
        for name, suffixes in _SUFFIXES.items():
            if name not in given:
                continue
            path = Path(given[name]).expanduser()
            if path.suffix.lower() not in suffixes:
                flag = '--' + name.replace('_', '-')
                raise OutputError(f'{flag} {given[name]!r}: expected a name that ends in {" or ".join(suffixes)}')
            if len(sources) == 1 or name == 'save_basis':
                planned = [path] * len(sources)
            else:
                pages = plan_outputs(sources, out_dir=path.with_suffix(''))
                planned = [page.with_suffix(path.suffix) for page in pages]
            self._paths[name] = planned
        if given.get('save_maps') and given.get('save_maps') == given.get('save_features'):
            raise OptionError('--save-maps and --save-features name the same file: give each its own')

    @property
    def wants_features(self) -> bool:
        """Whether the full features are to be kept."""
        return 'save_features' in self._paths

    def planned(self) -> list[Path]:
        """Every file that will be written."""
        return [path for paths in self._paths.values() for path in paths]

    def save(self, inferencer: Any, result: Any, number: int) -> list[Path]:
        """Write what was asked for of the image of this number in the run, and return the files."""
        written = []
        if 'figure' in self._paths:
            from featmap.figure import save_figure

            path = self._paths['figure'][number]
            size = {'dpi': self.given.get('dpi', 200), 'width': self.given.get('figure_width', 7.0)}
            save_figure(
                path,
                result.original,
                result.maps,
                result.predictions,
                visualizer=inferencer.visualizer,
                title=result.name,
                run=inferencer.run,
                **size,
            )
            written.append(path)
        for name in ('save_maps', 'save_features'):
            if name in self._paths:
                from featmap.storage import save_maps

                path = self._paths[name][number]
                save_maps(path, inferencer.record(result), features=name == 'save_features')
                written.append(path)
        return written

    def save_basis(self, inferencer: Any) -> list[Path]:
        """Write the basis that was fitted on the run, if it was asked for, and return its path."""
        if 'save_basis' in self._paths:
            if not hasattr(inferencer.reducer, 'dump'):
                raise OptionError('--save-basis goes with --channel-reduction pca')
            path = self._paths['save_basis'][0]
            write_atomically(path, inferencer.reducer.dump())
            return [path]
        return []
