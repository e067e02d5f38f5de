"""What the command line does: sources to sinks, with progress and a summary."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from featmap.errors import (
    CheckpointError,
    ConfigError,
    DrawError,
    FeatMapError,
    FeatMapWarning,
    GeometryError,
    LayerError,
    MissingPackageError,
    OptionError,
    OutputError,
    SourceError,
    first_line,
)
from featmap.escaping import tell
from featmap.extras import Extras
from featmap.options import Run
from featmap.options.groups import Output
from featmap.sinks import encode_image, exact_file, plan_outputs
from featmap.sources import KeptSource, Source, list_sources
from featmap.split import ORIGINAL, original_file
from featmap.wording import option as written
from featmap.writing import prepare, refuse_overwriting

# Errors that would meet every image alike; any other may be of the one at hand.
_OF_THE_RUN = (OptionError, ConfigError, CheckpointError, LayerError, MissingPackageError)
# Errors of one image that say nothing about the next.
_PER_IMAGE = (SourceError, OutputError, GeometryError, DrawError)

_LISTED = 100  # files of one image


def draw(run: Run, loaded: Callable[[], None] | None = None) -> int:
    """Do what the arguments ask for and return the exit status; see :func:`featmap.cli.main`.

    Args:
        run: What was asked for.
        loaded: Called when all is imported and built, before the first image.

    Raises:
        FeatMapError: where nothing can be done.
    """
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    output = run.output
    if not run.model.debug:
        _tell_own_warnings(notes)
    if output.show and not _has_display():
        raise OptionError(f'{written("show")} needs a display, and there is none here; use {written("out_file")}')
    sources = list_sources(run.inputs.image, output.out_dir or 'output', run.inputs.max_pixels)
    extras = Extras(output, sources)
    paths: list[Path | None] = [None] * len(sources)
    results: list[Path] = []
    if not output.preview_model:
        if output.out_file == '-' and output.out_dir is None:
            _check_stdout(sources)
        elif not output.show or output.out_dir or output.out_file:
            paths = list(_planned(output, sources))
        results = extras.plan([path for path in paths if path is not None])
        read = {source.location: 'an input image' for source in sources}
        refuse_overwriting(results, {**run.files_read(), **read})
        prepare(results)
    if len(sources) == 1:  # a picture that cannot be read should not cost the loading of a model
        sources = [KeptSource(sources[0].location, sources[0].name, sources[0].max_pixels)]
        sources[0].read()
    with _status(notes, 'loading PyTorch and the model'):
        inferencer = _load(run, notes)
    refuse_overwriting(results, inferencer.options.files_read())  # those that the config names too
    if loaded is not None:
        loaded()
    if output.preview_model:
        return _preview(run, inferencer, sources[0].read(), notes)
    # What goes to standard output may be the picture itself.
    out = notes if output.out_file == '-' else Console(highlight=False, soft_wrap=True)
    with _status(notes, 'looking at all images first'):
        inferencer.learn(list(sources), skip=_PER_IMAGE if len(sources) > 1 else ())
    for path in extras.save_basis(inferencer):
        tell(out, path)
    return _Drawing(run, inferencer, extras, out, notes).all(sources, paths)


def _planned(output: Output, sources: Sequence[Source]) -> list[Path]:
    """The file of each image's picture; where panels are split, that of its original."""
    if not output.split:
        return plan_outputs(sources, output.out_file, output.out_dir, f'.{output.format}')
    file = None if output.out_file is None else original_file(exact_file(output.out_file))
    return plan_outputs(sources, file, output.out_dir, f'{ORIGINAL}.{output.format}')


def _check_stdout(sources: Sequence[Source]) -> None:
    if len(sources) > 1:
        raise OptionError(f'{written("out_file", "-")} takes one picture, and there are {len(sources)} images')
    if sys.stdout.isatty():
        raise OptionError(f'{written("out_file", "-")} writes a picture, and standard output is a terminal: use a pipe')


def _tell_own_warnings(notes: Console) -> None:
    """Show this package's warnings in a line each, and nobody else's."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        tell(notes, f'featmap: {message}')

    warnings.simplefilter('ignore')
    warnings.simplefilter('always', FeatMapWarning)
    warnings.showwarning = show  # type: ignore[assignment]
    logging.getLogger('matplotlib').setLevel(logging.ERROR)  # it tells of fonts that have no bold


def _load(run: Run, notes: Console) -> Any:
    from featmap.inferencer import FeatMapInferencer
    from featmap.models.device import pick_device

    device = pick_device(run.model.device)
    if run.model.device is None and device.type == 'cpu':
        tell(notes, 'featmap: no CUDA device here, running on the CPU')
    save_dir = run.output.out_dir or 'output'
    inferencer = FeatMapInferencer(
        run.inputs.config,
        run.inputs.checkpoint,
        save_dir=save_dir,
        run=run,
    )
    if inferencer.default_layers is not None and not run.output.preview_model:
        tell(notes, f'featmap: no {written("target_layers")}: drawing {inferencer.default_layers}')
    if inferencer.network.random_weights:
        tell(notes, 'featmap: no checkpoint: the weights are random, and so is what the maps show')
    if inferencer.logs:
        tell(notes, f'featmap: vis backends that write files do so in {os.path.join(save_dir, "vis_data")}')
    report = inferencer.network.weights
    if report is not None and (report.missing or report.unexpected or report.mismatched):
        tell(notes, f'featmap: {report.summary()}')
    return inferencer


def _preview(run: Run, inferencer: Any, image: Any, notes: Console) -> int:
    from featmap.layer_tree import measure
    from featmap.preview import print_layers

    names = run.what.target_layers if 'target_layers' in run.given else ()
    layers, missing = measure(inferencer.network, image, names, run.what.extra_tokens)
    depth = 'all' if names and run.output.preview_depth is None else run.output.preview_depth
    print_layers(layers, depth=depth, default=inferencer.default_layers)
    if missing is not None:
        tell(notes, f'featmap: the forward stopped there: {missing}')
    return 0


class _Drawing:
    """Draws the images of a run, and keeps account of what failed and what was refused."""

    def __init__(self, run: Run, inferencer: Any, extras: Extras, out: Console, notes: Console) -> None:
        self.run, self.inferencer, self.extras = run, inferencer, extras
        self.out, self.notes = out, notes
        self.refused: set[str] = set()
        self.told = False  # by what is explained; the first images may have failed
        self.counts: list[tuple[int, int, int]] = []

    def all(self, sources: Sequence[Source], paths: Sequence[Path | None]) -> int:
        """Draw every source to its path and return the exit status."""
        failures: list[Source] = []
        planned = self.extras.plan([path for path in paths if path is not None])
        read = [*self.inferencer.options.files_read(), *(source.location for source in sources)]
        taken = {path.resolve() for path in [*map(Path, read), *planned]}
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=self.notes, transient=True, disable=not self.notes.is_terminal)
        with bar, contextlib.closing(self.inferencer):
            for step, (source, path) in enumerate(bar.track(list(zip(sources, paths)), description='drawing')):
                try:
                    self._one(source, path, step, taken)
                except Exception as error:
                    if len(sources) == 1 or (step == len(failures) and isinstance(error, _OF_THE_RUN)):
                        raise
                    failures.append(source)
                    kind = '' if isinstance(error, FeatMapError) else f'{type(error).__name__}: '
                    tell(self.notes, f'featmap: skipped {source.location}: {kind}{first_line(error)}', 'red')
                    if self.run.model.debug:
                        traceback.print_exc()
        self._tell_truth()
        if failures:
            names = ', '.join(source.location for source in failures)
            tell(self.notes, f'featmap: {len(failures)} of {len(sources)} images failed: {names}')
            return 2 if len(failures) == len(sources) else 1
        return 1 if self.refused else 0

    def _tell_choice(self, result: Any) -> None:
        """Say by what was explained where nobody asked for a method or a layer."""
        options = self.inferencer.options
        if not options.explains or (options.explain.method and options.what.target_layers):
            return
        missing = [] if options.explain.method else [written('method')]
        missing += [] if options.what.target_layers else [written('target_layers')]
        used = dict.fromkeys(
            f'{each.method} on {", ".join(each.layers)}' + (f' ({each.fuse})' if len(each.layers) > 1 else '')
            for each in result.explanations
        )
        tell(self.notes, f'featmap: no {" and ".join(missing)}: {"; ".join(used)}')

    def _tell_truth(self) -> None:
        truth = self.inferencer.truth
        if len(self.counts) > 1:
            found, missed, false = (sum(each) for each in zip(*self.counts))
            text = f'ground truth of {len(self.counts)} images: {found} found · {missed} missed · {false} false'
            tell(self.notes, f'featmap: {text}')
        if truth is not None and truth.note:
            tell(self.notes, f'featmap: {truth.note}')

    def _one(self, source: Source, path: Path | None, step: int, taken: set[Path]) -> None:
        output = self.run.output
        result = self.inferencer.draw(source, step, pictures=output.show or not output.split)
        if output.out_file == '-' and len(result.renderings) > 1:
            raise OptionError(
                f'{written("out_file", "-")} takes one picture, and this one has {len(result.renderings)} pages: use '
                f'{written("out_dir")}, or draw fewer channels'
            )
        if not self.told:
            self._tell_choice(result)
            self.told = True
        for reason in result.refused:
            if reason not in self.refused:
                self.refused.add(reason)
                tell(self.notes, f'featmap: not drawn: {reason}', 'red')
        if result.match is not None:
            self.counts.append(result.match.counts)
        files = self.extras.save(self.inferencer, result, step)
        if path is not None and output.split:
            panels = result.save_panels(path, taken, output.quality)
            taken.update(file.resolve() for file in panels)
            files += panels
        elif path is not None:
            files += result.save_pages(path, taken, output.quality)
        elif output.out_file == '-':
            _to_stdout(encode_image(result.image, f'.{output.format}', quality=output.quality))
        shown = files if len(files) <= _LISTED else [*files[: _LISTED - 1], files[-1]]
        for each in shown:
            tell(self.out, each)
        if len(files) > len(shown):
            tell(self.notes, f'featmap: {len(files)} files in all, of which {len(shown)} are named')
        if output.show:
            self.inferencer.visualizer.show(result.image, win_name=source.name)


def _to_stdout(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is left in the buffer would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f'the picture cannot be written to standard output: {error.strerror}') from error


def _has_display() -> bool:
    return not sys.platform.startswith('linux') or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def _status(notes: Console, text: str) -> AbstractContextManager[Any]:
    return notes.status(text) if notes.is_terminal else nullcontext()
