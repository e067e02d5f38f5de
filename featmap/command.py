"""What the command line does: sources to sinks, with progress and a summary."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from featmap.errors import DrawError, FeatMapError, GeometryError, OptionError, OutputError, SourceError, first_line
from featmap.escaping import escape, tell
from featmap.extras import Extras
from featmap.options import Run
from featmap.options.groups import Output
from featmap.sinks import plan_outputs, prepare
from featmap.sources import LoadedSource, Source, list_sources

# Errors that are of one image and say nothing about the next.
_PER_IMAGE = (SourceError, OutputError, GeometryError, DrawError)


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
        warnings.simplefilter('ignore')
    if output.show and not _has_display():
        raise OptionError('--show needs a display, and there is none here; use --out-file')
    sources = list_sources(run.inputs.image, output.out_dir or 'output', run.inputs.max_pixels)
    extras = Extras(output, sources)
    paths: list[Path | None] = [None] * len(sources)
    if not output.preview_model:
        if not output.show or output.out_dir or output.out_file:
            paths = list(plan_outputs(sources, output.out_file, output.out_dir, f'.{output.format}'))
        prepare(extras.plan([path for path in paths if path is not None]))
    if len(sources) == 1:  # a picture that cannot be read should not cost the loading of a model
        sources = [LoadedSource(sources[0].location, sources[0].name, pixels=sources[0].read())]
    with _status(notes, 'loading PyTorch and the model'):
        inferencer = _load(run, notes)
    if loaded is not None:
        loaded()
    if output.preview_model:
        return _preview(run, inferencer, sources[0].read(), notes)
    with _status(notes, 'looking at all images first'):
        inferencer.learn(list(sources), skip=_PER_IMAGE if len(sources) > 1 else ())
    for path in extras.save_basis(inferencer):
        print(escape(path))
    return _draw_all(inferencer, sources, paths, extras, output, notes)


def _load(run: Run, notes: Console) -> Any:
    from featmap.inferencer import FeatMapInferencer
    from featmap.models.build import is_none, pick_device

    device = pick_device(run.model.device)
    if run.model.device is None and device.type == 'cpu':
        tell(notes, 'featmap: no CUDA device here, running on the CPU')
    if is_none(run.inputs.checkpoint):
        tell(notes, 'featmap: no checkpoint: the weights are random, and so is what the maps show')
    save_dir = run.output.out_dir or 'output'
    inferencer = FeatMapInferencer(
        run.inputs.config,
        run.inputs.checkpoint,
        save_dir=save_dir,
        run=run,
    )
    if inferencer.visualizer._vis_backends:
        tell(notes, f'featmap: vis backends that write files do so in {os.path.join(save_dir, "vis_data")}')
    report = inferencer.detector.weights
    if report is not None and (report.missing or report.unexpected or report.mismatched):
        tell(notes, f'featmap: {report.summary()}')
    return inferencer


def _preview(run: Run, inferencer: Any, image: Any, notes: Console) -> int:
    from featmap.preview import measure, print_layers

    layers, missing = measure(
        inferencer.detector, image, run.what.target_layers if 'target_layers' in run.given else ()
    )
    print_layers(layers)
    if missing is not None:
        tell(notes, f'featmap: the forward stopped there: {missing}')
    return 0


def _draw_all(
    inferencer: Any,
    sources: Sequence[Source],
    paths: Sequence[Path | None],
    extras: Extras,
    output: Output,
    notes: Console,
) -> int:
    failures: list[Source] = []
    counts: list[tuple[int, int, int]] = []
    taken = {Path(source.location).resolve() for source in sources} | {path.resolve() for path in paths if path}
    out = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as progress:
        for step, (source, path) in enumerate(progress.track(list(zip(sources, paths)), description='drawing')):
            try:
                result = inferencer.draw(source, step)
                written = extras.save(inferencer, result, step)
                if result.match is not None:
                    counts.append(result.match.counts)
                if path is not None:
                    written += result.save_pages(path, taken, output.quality)
            except Exception as error:
                # An error that is not of the image, before anything was drawn, would meet every image alike.
                if len(sources) == 1 or (step == len(failures) and not isinstance(error, _PER_IMAGE)):
                    raise
                failures.append(source)
                kind = '' if isinstance(error, FeatMapError) else f'{type(error).__name__}: '
                tell(notes, f'featmap: skipped {source.location}: {kind}{first_line(error)}', 'red')
                continue
            for each in written:
                tell(out, each)
            if output.show:
                inferencer.visualizer.show(result.image, win_name=source.name)
    inferencer.visualizer.close()
    if len(counts) > 1:
        found, missed, false = (sum(each) for each in zip(*counts))
        tell(notes, f'featmap: ground truth of {len(counts)} images: {found} found · {missed} missed · {false} false')
    if inferencer.truth is not None and inferencer.truth.note:
        tell(notes, f'featmap: {inferencer.truth.note}')
    if failures:
        names = ', '.join(source.location for source in failures)
        tell(notes, f'featmap: {len(failures)} of {len(sources)} images failed: {names}')
        return 2 if len(failures) == len(sources) else 1
    return 0


def _has_display() -> bool:
    return not sys.platform.startswith('linux') or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def _status(notes: Console, text: str) -> AbstractContextManager[Any]:
    return notes.status(text) if notes.is_terminal else nullcontext()
