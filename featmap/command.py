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
from featmap.sinks import plan_outputs, prepare
from featmap.sources import LoadedSource, Source, list_sources

# Errors that are of one image and say nothing about the next.
_PER_IMAGE = (SourceError, OutputError, GeometryError, DrawError)


def run(given: dict[str, Any], loaded: Callable[[], None] | None = None) -> int:
    """Do what the parsed arguments ask for and return the exit status; see :func:`featmap.cli.main`.

    Args:
        given: The parsed arguments.
        loaded: Called when all is imported and built, before the first image.

    Raises:
        FeatMapError: where nothing can be done.
    """
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    if not given['debug']:
        warnings.simplefilter('ignore')
    show, out_dir, out_file = (given.get(name) for name in ('show', 'out_dir', 'out_file'))
    if show and not _has_display():
        raise OptionError('--show needs a display, and there is none here; use --out-file')
    sources = list_sources(given['image'], exclude=out_dir or 'output')
    preview = given.get('preview_model', False)
    extras = Extras(given, sources)
    paths: list[Path | None] = [None] * len(sources)
    if not preview:
        if not show or out_dir or out_file:
            paths = list(plan_outputs(sources, out_file, out_dir))
        prepare(extras.plan([path for path in paths if path is not None]))
    if len(sources) == 1:  # a picture that cannot be read should not cost the loading of a model
        sources = [LoadedSource(sources[0].location, sources[0].name, sources[0].read())]
    with _status(notes, 'loading PyTorch and the model'):
        inferencer = _load(given, notes, (out_dir or 'output'), extras)
    if loaded is not None:
        loaded()
    if preview:
        return _preview(given, inferencer, sources[0].read(), notes)
    with _status(notes, 'looking at all images first'):
        inferencer.learn(list(sources), skip=_PER_IMAGE if len(sources) > 1 else ())
    for path in extras.save_basis(inferencer):
        print(escape(path))
    return _draw_all(inferencer, sources, paths, extras, bool(show), notes)


def _load(given: dict[str, Any], notes: Console, save_dir: str, extras: Extras) -> Any:
    from featmap.inferencer import FeatMapInferencer
    from featmap.models.build import pick_device
    from featmap.models.config import parse_cfg_options

    device = pick_device(given.get('device'))
    if 'device' not in given and device.type == 'cpu':
        tell(notes, 'featmap: no CUDA device here, running on the CPU')
    checkpoint = given['checkpoint']
    if checkpoint.lower() == 'none' and not os.path.exists(checkpoint):
        tell(notes, 'featmap: no checkpoint: the weights are random, and so is what the maps show')
        checkpoint = None
    inferencer = FeatMapInferencer(
        given['config'],
        checkpoint,
        device=str(device),
        cfg_options=parse_cfg_options(given.get('cfg_options', [])),
        trust_checkpoint=given.get('trust_checkpoint', False),
        save_dir=save_dir if given['options'].get('vis_backends') else None,
        keep_features=extras.wants_features,
        **given['options'],
    )
    if inferencer.visualizer._vis_backends:
        tell(notes, f'featmap: vis backends that write files do so in {os.path.join(save_dir, "vis_data")}')
    report = inferencer.detector.weights
    if report is not None and (report.missing or report.unexpected or report.mismatched):
        tell(notes, f'featmap: {report.summary()}')
    return inferencer


def _preview(given: dict[str, Any], inferencer: Any, image: Any, notes: Console) -> int:
    from featmap.preview import measure, print_layers

    layers, missing = measure(inferencer.detector, image, given['options'].get('target_layers', ()))
    print_layers(layers)
    if missing is not None:
        tell(notes, f'featmap: the forward stopped there: {missing}')
    return 0


def _draw_all(
    inferencer: Any,
    sources: Sequence[Source],
    paths: Sequence[Path | None],
    extras: Extras,
    show: bool,
    notes: Console,
) -> int:
    failures: list[Source] = []
    taken = {Path(source.location).resolve() for source in sources} | {path.resolve() for path in paths if path}
    out = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as progress:
        for step, (source, path) in enumerate(progress.track(list(zip(sources, paths)), description='drawing')):
            try:
                result = inferencer.draw(source, step)
                written = extras.save(inferencer, result, step)
                if path is not None:
                    written += result.save_pages(path, taken)
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
            if show:
                inferencer.visualizer.show(result.image, win_name=source.name)
    inferencer.visualizer.close()
    if failures:
        names = ', '.join(source.location for source in failures)
        tell(notes, f'featmap: {len(failures)} of {len(sources)} images failed: {names}')
        return 2 if len(failures) == len(sources) else 1
    return 0


def _has_display() -> bool:
    return not sys.platform.startswith('linux') or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def _status(notes: Console, text: str) -> AbstractContextManager[Any]:
    return notes.status(text) if notes.is_terminal else nullcontext()
