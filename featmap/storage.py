"""The raw numbers of one image in one file, ``.npz`` or ``.safetensors``, and a JSON file beside it that explains them.

The JSON file ``<file>.json`` is written last and holds the hash of the data, so that data which are cut short, of
another run or half written are never taken for whole. Nothing is pickled or unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from featmap.arrays import DATA_SUFFIXES, pack, sidecar_of, unpack
from featmap.drawer import MapDrawer
from featmap.errors import DrawError, GeometryError, OptionError, OutputError, SourceError, first_line, nearest
from featmap.explained import ExplanationDrawer
from featmap.explanation import Explanation
from featmap.matching import Match, match
from featmap.options import DRAWING, Run
from featmap.rendering.normalize import Range
from featmap.schema import SchemaError, described
from featmap.sidecar import SIDECAR, plain
from featmap.singles import Singles
from featmap.sources import Source
from featmap.stored_explanations import explanation_entries, explanations_of
from featmap.stored_maps import map_entry, map_of
from featmap.stored_results import results_entry, results_of, truth_entry, truth_of
from featmap.structures import Detections, FeatureMap, GroundTruth, Rendering
from featmap.version import __version__
from featmap.writing import atomic_write, write_atomically

FORMAT = 'featmap maps'
_MOST_SIDECAR_BYTES = 64 << 20
VERSION = 2
LOOK = DRAWING
"""The settings that a picture is drawn with again."""

_PACKAGES = ('torch', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmyolo', 'mmsegmentation', 'mmpretrain', 'numpy',
             'opencv-python', 'opencv-python-headless', 'opencv-contrib-python',
             'opencv-contrib-python-headless')  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class SavedImage:
    """All that it takes to draw one image's maps again without the model, but for the image itself.

    Attributes:
        name: What the image is called.
        location: The path or URL that it was read from; empty for an array and for standard input.
        image_shape: Its height and width.
        maps: The maps, in drawing order.
        detections: The detections that are drawn; None where they were not asked for.
        provenance: ``config``, ``checkpoint``, ``checkpoint_sha256``, ``settings`` (a dict with those of ``LOOK`` as
            they were in force, and any others), ``versions``. What JSON cannot hold is saved as text.
        run_range: (low, high, noise) of the whole run, for the norm ``run``; files of old have no noise.
        truth: The ground truth that is drawn beside the detections; None for none.
        explanations: What the maps speak for, each map once; none where they show what layers put out.
    """

    name: str
    location: str
    image_shape: tuple[int, int]
    maps: tuple[FeatureMap, ...]
    detections: Detections | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    run_range: tuple[float, ...] | None = None
    truth: GroundTruth | None = None
    explanations: tuple[Explanation, ...] = ()

    def __repr__(self) -> str:
        """One line: what it is called and how many maps."""
        return f'<SavedImage of {self.name!r}: {len(self.maps)} map{"s" * (len(self.maps) != 1)}>'

    def draw(self, image: np.ndarray | str | Path | None = None, **look: Any) -> Rendering:
        """The picture as it was drawn, pixel for pixel, or its first page.

        Args:
            image: (H, W, 3) RGB uint8, the original, or its path or URL; None to read it from ``location``.
            **look: Settings of ``LOOK`` that win over the saved ones.

        Raises:
            DrawError: the image has another size than the one that the maps were made from.
            OptionError: for a setting that is none of ``LOOK``, or makes no sense.
            SourceError: the image cannot be read.
        """
        return self.draw_sheets(image, **look)[0]

    def draw_sheets(self, image: np.ndarray | str | Path | None = None, **look: Any) -> Sequence[Rendering]:
        """As :meth:`draw`, but every page; there are several where a layer has very many planes."""
        drawer, original, run = self._again(image, look)
        if self.explanations:
            return self._why(drawer).draw_sheets(original, self.explanations, self.detections, self.name)
        matched = self._match()
        return drawer.draw_sheets(original, self.maps, self.detections, title=self.name, run=run, match=matched)

    def panels(self, image: np.ndarray | str | Path | None = None, **look: Any) -> Singles:
        """As :meth:`draw`, but every panel by itself and bare; :func:`featmap.split.save_singles` writes them."""
        drawer, original, run = self._again(image, look)
        if self.explanations:
            return self._why(drawer).draw_panels(original, self.explanations, self.detections)
        return drawer.draw_panels(original, self.maps, self.detections, run, self._match())

    def _why(self, drawer: MapDrawer) -> ExplanationDrawer:
        settings = self.provenance.get('settings') or {}
        asked = settings.get('explain_box')
        return ExplanationDrawer(drawer, settings.get('zoom') is True, None if asked is None else tuple(asked))

    def _again(
        self, image: np.ndarray | str | Path | None, look: Mapping[str, Any]
    ) -> tuple[MapDrawer, np.ndarray, Range | None]:
        """What draws, the original, and the range of the whole run."""
        for name in look:
            if name not in LOOK:
                raise OptionError(f'{name!r} is none of {", ".join(LOOK)}; nearest: {", ".join(nearest(name, LOOK))}')
        saved = self.provenance.get('settings') or {}
        drawer = MapDrawer(Run.of({**{name: saved[name] for name in LOOK if name in saved}, **look}))
        run = None
        if self.run_range is not None:
            low, high, *noise = self.run_range
            run = Range(low, high, noise=sum(noise))
        return drawer, self._original(image), run

    def _match(self) -> Match | None:
        return None if self.truth is None or self.detections is None else match(self.detections, self.truth)

    def _original(self, image: np.ndarray | str | Path | None) -> np.ndarray:
        where = 'the given image'
        if image is None or isinstance(image, (str, Path)):
            if not (location := str(image or self.location)):
                raise SourceError(f'{self.name!r} was no file, so that it cannot be read again: give the image')
            try:
                image, where = Source(location, self.name).read(), repr(location)
            except SourceError as error:
                raise SourceError(f'{error}; draw(image=…) takes the image from elsewhere') from error
        if image.shape != (*self.image_shape, 3) or image.dtype != np.uint8:
            settings = self.provenance.get('settings') or {}
            hint = ': the network input, which the result has as its original' * (settings.get('overlay') == 'input')
            raise DrawError(
                f'{where} is of {image.dtype} {image.shape}, but the maps belong to an RGB image of uint8 '
                f'{(*self.image_shape, 3)}{hint}'
            )
        return image


def versions() -> dict[str, str]:
    """The installed versions of featmap and of the packages that a picture depends on, by distribution name."""
    found = {'featmap': __version__}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def save_maps(path: str | os.PathLike[str], saved: SavedImage, features: bool = False) -> Path:
    """Write an image's maps to one file, and what they are to the JSON file beside it; an older pair is replaced.

    Args:
        path: The file, ``.npz`` or ``.safetensors``; its folders are created. ``~`` is expanded.
        saved: What to write.
        features: Whether to keep the full (C, h, w) features too, in their own type; bfloat16 becomes float32.

    Returns:
        The path of the data.

    Raises:
        OutputError: for another suffix, for maps that hold no features where these are wanted, or where writing fails.
        MissingPackageError: safetensors is not installed.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in DATA_SUFFIXES:
        raise OutputError(f'{str(path)!r}: raw maps are written as {" or ".join(DATA_SUFFIXES)}, got {path.suffix!r}')
    arrays: dict[str, np.ndarray] = {}
    entries = [map_entry(item, f'map{number}', arrays, features) for number, item in enumerate(saved.maps)]
    detections = results_entry(saved.detections, arrays)
    explained = explanation_entries(saved.explanations, arrays)
    data = pack(path, arrays)
    height, width = saved.image_shape
    sidecar = {
        'format': FORMAT,
        'version': VERSION,
        'data': {'file': path.name, 'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()},
        'image': {'name': saved.name, 'location': saved.location, 'height': height, 'width': width},
        'provenance': saved.provenance,
        'run_range': saved.run_range,
        'detections': detections,
        'ground_truth': truth_entry(saved.truth),
        'maps': entries,
    }
    if saved.explanations:
        sidecar['explanations'] = explained
    text = json.dumps(plain(sidecar), indent=1, ensure_ascii=False, allow_nan=False) + '\n'
    with atomic_write(path) as file:
        file.write(data)
        sidecar_of(path).unlink(missing_ok=True)  # the new data must not stand beside the old description
    # File names that are no Unicode hold lone surrogates: their escape is JSON's own.
    write_atomically(sidecar_of(path), text.encode('utf-8', errors='backslashreplace'))
    return path


def load_maps(path: str | os.PathLike[str]) -> SavedImage:
    """Read what :func:`save_maps` wrote, by the path of the data or of the JSON file; no code in them is run.

    Raises:
        SourceError: one of the two is missing, damaged, of a newer featmap or of something else.
        MissingPackageError: safetensors is not installed.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == '.json':
        path = path.with_suffix('')
    if path.suffix.lower() not in DATA_SUFFIXES:
        raise SourceError(f'{str(path)!r}: raw maps are read from {" or ".join(DATA_SUFFIXES)}, got {path.suffix!r}')
    sidecar = sidecar_of(path)
    data = _read(path)  # first: where there is neither, the name that was given is the one to tell
    if not sidecar.exists():
        raise SourceError(
            f'{str(path)!r} has no {sidecar.name!r} beside it: it holds something else than maps, or its writing was '
            'broken off; save it again'
        )
    content = _sidecar(sidecar)
    try:
        size, digest = content['data']['bytes'], content['data']['sha256']
        if len(data) < size:
            raise SourceError(f'{str(path)!r} is cut short: it has {len(data)} of {size} bytes; copy or save it again')
        if hashlib.sha256(data).hexdigest() != digest:
            raise SourceError(f'{str(path)!r} is damaged, or {sidecar.name!r} belongs to other data; save it again')
        return _restored(content, unpack(path, data))
    except (KeyError, ValueError, GeometryError, DrawError) as error:
        # Each is as it should be, but they contradict each other.
        reason = f'there is no array {error}' if isinstance(error, KeyError) else first_line(error)
        raise SourceError(f'{str(sidecar)!r} does not describe maps: {reason}') from error


def _sidecar(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read(path, _MOST_SIDECAR_BYTES))
    except (ValueError, RecursionError) as error:
        raise SourceError(f'{str(path)!r} is no JSON of featmap: {first_line(error)}') from error
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise SourceError(f'{str(path)!r} is JSON, but of something else than featmap: expected what save_maps wrote')
    version = content.get('version')
    if not isinstance(version, int) or version > VERSION:
        raise SourceError(
            f'{str(path)!r} is of the format {described(version)}; featmap {__version__} reads up to {VERSION}: '
            'upgrade featmap'
        )
    try:
        return SIDECAR(content, '')
    except SchemaError as error:
        raise SourceError(f'{str(path)!r} does not describe maps: {error}') from error


def _read(path: Path, most: int = 1 << 40) -> bytes:
    try:
        if path.stat().st_size > most:
            raise SourceError(f'{str(path)!r} is larger than {most >> 20} MiB, expected what save_maps wrote')
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(f'{str(path)!r} does not exist: give the path that save_maps wrote to') from error
    except OSError as error:
        raise SourceError(f'{str(path)!r} cannot be read: {error.strerror or first_line(error)}') from error


def _restored(content: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> SavedImage:
    image, run = content['image'], content['run_range']
    shape = (image['height'], image['width'])
    maps = tuple(map_of(entry, arrays) for entry in content['maps'])
    return SavedImage(
        image['name'],
        image['location'],
        shape,
        maps,
        results_of(content['detections'], arrays, shape),
        dict(content['provenance']),
        run,
        truth_of(content.get('ground_truth')),
        explanations_of(content.get('explanations', ()), maps, arrays, shape),
    )
