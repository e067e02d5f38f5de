"""The readers of files that come from others: what each is fed, and what is done with what it read.

A case is the files of a folder by name; a corpus has cases by name, from which others are made by chance.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from featmap.arrays import read_npz
from featmap.decoding import decode_image
from featmap.masks import Masks
from featmap.models.checkpoint import apply_weights, load_checkpoint
from featmap.models.openmmlab.build import class_names, class_palette
from featmap.models.openmmlab.config import load_config
from featmap.reducers import build_reducer, reduce
from featmap.storage import load_maps, save_maps
from featmap.structures import Detections
from tests.fuzz_labels import labels, mutate_labels, read_labels
from tests.mutating import mutate_arrays, mutate_bytes, mutate_pickle, mutate_value, mutate_zip, npz
from tests.storage_helpers import PICTURE, SHAPE, a_map, a_record
from tests.test_decoding_hostile import EPS
from tests.test_models.test_checkpoint_limits import STREAMS, old, zipped
from tests.test_reducers_pca_basis import BASIS, NO_BASIS

Files = dict[str, bytes]


@dataclass(frozen=True)
class Reader:
    """A reader of files: its cases, how others are made of one, and the whole way of what is read."""

    corpus: Callable[[Path], dict[str, Files]]
    mutate: Callable[[random.Random, Files], Files]
    read: Callable[[Path], Any]


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def checkpoints(folder: Path) -> dict[str, Files]:
    """Checkpoints in both forms, and all that were found to take too long."""
    torch.manual_seed(0)
    meta = {'dataset_meta': {'CLASSES': ['a', 'b'], 'palette': [(1, 2, 3), (4, 5, 6)]}, 'seed': 0, 'epoch': 3}
    history = {'log': np.arange(3.0), 'set': {1, 2}, 'size': torch.Size([2])}
    content = {'state_dict': _net().state_dict(), 'meta': meta, 'message_hub': history}
    shared = torch.arange(12.0)
    contents = {'training': content, 'views': {'0.weight': shared[:4], 'b': shared[2:8].reshape(2, 3).t().half()}}
    cases = {}
    path = folder / 'made.pth'
    for name, value in contents.items():
        for is_zip in (True, False):
            torch.save(value, path, _use_new_zipfile_serialization=is_zip)
            cases[f'{name} {"zip" if is_zip else "old"}'] = {'a.pth': path.read_bytes()}
    for name, (stream, _) in STREAMS.items():
        cases[f'{name}, zip'] = {'a.pth': zipped(path, stream, [('0', b'')]).read_bytes()}
        cases[f'{name}, old'] = {'a.pth': old(path, stream).read_bytes()}
    return cases


def mutate_checkpoint(rng: random.Random, files: Files) -> Files:
    """Opcodes more often than bytes."""
    data = files['a.pth']
    if rng.random() < 0.25:
        return {'a.pth': mutate_bytes(rng, data)}
    if data.startswith(b'PK'):
        folder = 'a' if b'a/data.pkl' in data else 'made'
        return {'a.pth': mutate_zip(rng, data, f'{folder}/data.pkl')}
    head = data.index(b'little_endian')
    start = data.index(b'.', head) + 1
    return {'a.pth': data[:start] + mutate_pickle(rng, data[start:])}


def read_checkpoint(folder: Path) -> None:
    """Load, name the classes, and put the weights into a model."""
    checkpoint = load_checkpoint(folder / 'a.pth')
    config = Config({'model': {}})
    class_names(config, checkpoint.meta)
    class_palette(config, checkpoint.meta)
    apply_weights(_net(), checkpoint).summary()


def maps(folder: Path) -> dict[str, Files]:
    """Raw maps of every kind, with results."""
    found = Detections(
        np.array([[5, 5, 40, 30], [50, 20, 90, 55]], np.float32),
        np.array([0.9, 0.5], np.float32),
        np.array([0, 3]),
        ('a',),
    )
    mask = np.zeros(SHAPE, bool)
    mask[10:20, 30:50] = True
    masked = Detections(found.boxes, found.scores, found.labels, ('a',), masks=Masks.of([mask, mask], SHAPE))
    settings = {'settings': {'alpha': 0.4, 'colormap': 'jet', 'norm': 'map', 'arrangement': [1, 3], 'labels': True}}
    records = {
        'heat': a_record(a_map(), detections=found, provenance=settings),
        'picture': a_record(a_map('image'), a_map('segments', 1), run_range=(0.0, 1.0, 0.1), detections=masked),
        'concepts': a_record(a_map('concepts', names=('a', 'b', 'c'), ranges=((0.0, 1.0),) * 3, noise=(0.1,) * 3)),
    }
    cases = {}
    for name, record in records.items():
        path = save_maps(folder / 'a.npz', record)
        cases[name] = {'a.npz': path.read_bytes(), 'a.npz.json': path.with_name('a.npz.json').read_bytes()}
    entry = json.loads(cases['heat']['a.npz.json'])
    entry['maps'][0]['geometry']['scale'] = [1]
    cases['a short geometry'] = {**cases['heat'], 'a.npz.json': json.dumps(entry).encode()}
    arrays = read_npz(cases['heat']['a.npz'])
    data = npz({**arrays, 'scores': np.float32(0.5)})
    entry = json.loads(cases['heat']['a.npz.json'])
    entry['data'].update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    cases['a score alone'] = {'a.npz': data, 'a.npz.json': json.dumps(entry).encode()}
    entry = json.loads(cases['picture']['a.npz.json'])
    entry['version'] = 'x' * 20_000
    cases['a version without end'] = {**cases['picture'], 'a.npz.json': json.dumps(entry).encode()}
    return cases


def mutate_maps(rng: random.Random, files: Files) -> Files:
    """The description, or the arrays with a description that vouches for them."""
    data, sidecar = files['a.npz'], files['a.npz.json']
    if rng.random() < 0.1:
        return {'a.npz': data, 'a.npz.json': mutate_bytes(rng, sidecar)}
    content = json.loads(sidecar)
    if rng.random() < 0.3:
        data = mutate_bytes(rng, data) if rng.random() < 0.3 else npz(mutate_arrays(rng, read_npz(data)))
        content['data'].update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    else:
        content = mutate_value(rng, content)
    return {'a.npz': data, 'a.npz.json': json.dumps(content).encode()}


def read_maps(folder: Path) -> None:
    """Load and draw, from the given image: the one that the file names may be anywhere."""
    load_maps(folder / 'a.npz').draw_sheets(PICTURE)


def bases(folder: Path) -> dict[str, Files]:
    """A basis, and files that are none."""
    return {'whole': {'a.npz': npz(BASIS)}, **{name: {'a.npz': content} for name, content in NO_BASIS.items()}}


def mutate_basis(rng: random.Random, files: Files) -> Files:
    """Arrays more often than bytes."""
    try:
        arrays = read_npz(files['a.npz'])
    except Exception:  # it is broken already
        arrays = {}
    if not arrays or rng.random() < 0.3:
        return {'a.npz': mutate_bytes(rng, files['a.npz'])}
    return {'a.npz': npz(mutate_arrays(rng, arrays))}


def read_basis(folder: Path) -> None:
    """Reduce a map with it."""
    reducer = build_reducer('pca', components=1, basis=str(folder / 'a.npz'))
    reduce(reducer, torch.ones(2, 4, 4), torch.ones(4, 4))


def images(folder: Path) -> dict[str, Files]:
    """An image in each format, and those that cost more than they look."""
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[274] = 6
    cases = {}
    kinds = ('JPEG', 'PNG', 'BMP', 'TIFF', 'WEBP', 'GIF', 'PPM', 'JPEG2000', 'TGA', 'AVIF')
    Image.init()
    for kind in (kind for kind in kinds if kind in Image.SAVE):
        options = {'exif': exif} if kind in ('JPEG', 'PNG', 'TIFF', 'WEBP') else {}
        file = io.BytesIO()
        image.save(file, kind, **options)
        cases[kind] = {'a.x': file.getvalue()}
    more = {
        '16 bits': (Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), 'PNG', {}),
        'palette': (image.convert('P'), 'PNG', {'transparency': 0}),
        'progressive': (image, 'JPEG', {'progressive': True}),
        'cmyk': (image.convert('CMYK'), 'JPEG', {}),
        'lzw': (image, 'TIFF', {'compression': 'tiff_lzw'}),
        'jpeg in tiff': (image, 'TIFF', {'compression': 'jpeg'}),
        'fax': (image.convert('1'), 'TIFF', {'compression': 'group4'}),
        '32 bits': (Image.fromarray(pixels[..., 0].astype(np.int32) * 99), 'TIFF', {}),
        'animation': (image, 'GIF', {'save_all': True, 'append_images': [image.rotate(90)]}),
        'animated webp': (image, 'WEBP', {'save_all': True, 'append_images': [image.rotate(90)]}),
        'animated png': (image, 'PNG', {'save_all': True, 'append_images': [image.rotate(90)]}),
        'run-length tga': (image, 'TGA', {'compression': 'tga_rle'}),
    }
    for name, (picture, kind, options) in more.items():
        file = io.BytesIO()
        picture.save(file, kind, **options)
        cases[name] = {'a.x': file.getvalue()}
    cases['postscript'] = {'a.x': EPS}
    cases['a bomb'] = {'a.x': b'P6 30000 30000 255\n'}
    cases['a huge png'] = {
        'a.x': cases['PNG']['a.x'].replace(struct.pack('>II', 17, 13), struct.pack('>II', 60_000, 60_000))
    }
    return cases


def mutate_image(rng: random.Random, files: Files) -> Files:
    """Bytes, at the beginning more often than in the middle."""
    data = files['a.x']
    cut = rng.choice((len(data), 64, 200))
    return {'a.x': mutate_bytes(rng, data[:cut]) + data[cut:]}


def read_image(folder: Path) -> None:
    """Decode, as with ``--max-pixels 1000000``."""
    assert decode_image((folder / 'a.x').read_bytes(), 'a.x', 10**6).size <= 3 * 10**6


_CONFIG = {
    '_base_': ['base.py'],
    'model': {'type': 'YOLODetector', 'neck': {'in_channels': [1, 2], '_delete_': True}},
    'test_dataloader': {'dataset': {'pipeline': [{'type': 'Resize', 'scale': [64, 64]}]}},
    'featmap': {'alpha': 0.4, 'target_layers': ['neck']},
    'custom_imports': {'imports': ['math'], 'allow_failed_imports': False},
}
_PYTHON = """_base_ = ['base.py']
model = dict ( type = 'X' , neck = dict ( _delete_ = True , a = [ 1 , 2 ] ) )
size = {{ _base_.size }}
name = '{{ fileBasename }}'
data = dict ( a = _base_.size , b = [ dict ( c = 1 ) ] )
"""
_BASES = ['base.py', './base.py', 'missing.py', '', '.', '..', '/', 'nope::x.py', 'x' * 400 + '.py',
          'a\0b.py', 'b\nc.py', 'é.py', 'base.pyc', 'mmdet::_base_/default_runtime.py', None, 5, {}, [],
          [[]], ['base.py', 'base.py']]  # fmt: skip
_TOKENS = ['(', ')', '[', ']', '{', '}', ',', ':', '=', 'dict', 'None', '1', "'a'", '_base_',
           '_base_.nope', '{{ _base_.nope }}', '{{ fileDirname }}', '{{', '_delete_ = True', '\n',
           '\n ', 'import nope', 'del model', 'assert 0', 'raise', '1 / 0', '"', '\\', '\x00', 'é',
           '\x1b[2J', 'model.nope', 'lambda', 'with read_base ( ) :']  # fmt: skip


def configs(folder: Path) -> dict[str, Files]:
    """Configs that inherit, in Python and in JSON."""
    base = b"size = 3\nmodel = dict(type='X', neck=dict(type='Y', out=4))\n"
    cases = {'json': {'a.json': json.dumps(_CONFIG).encode()}, 'python': {'a.py': _PYTHON.encode()}}
    for number, name in enumerate(_BASES):
        cases[f'base {number}'] = {'a.json': json.dumps({'_base_': name, 'model': {}}).encode()}
        cases[f'python base {number}'] = {'a.py': f'_base_ = {name!r}\n'.encode()}
    return {name: {'base.py': base, **files} for name, files in cases.items()}


def mutate_config(rng: random.Random, files: Files) -> Files:
    """Values of JSON, words of Python; nothing that does more than to fail."""
    name = 'a.json' if 'a.json' in files else 'a.py'
    text = files[name].decode()
    if name == 'a.json':
        if rng.random() < 0.2:
            return {**files, name: mutate_bytes(rng, files[name])}
        content = mutate_value(rng, json.loads(text))
        if isinstance(content, dict):
            content.pop('custom_imports', None)  # imports what it is told
        return {**files, name: json.dumps(content).encode()}
    words = text.split(' ')
    for _ in range(rng.choice((1, 1, 3))):
        at = rng.randrange(len(words))
        words[at : at + rng.choice((0, 1, 2))] = rng.choices(_TOKENS, k=rng.choice((0, 1, 2)))
        words = words or ['']
    return {**files, name: ' '.join(words).encode()}


def read_config(folder: Path) -> None:
    """Load, with an override."""
    load_config(next(folder.glob('a.*')), {'model.neck.out': 5})


READERS = {
    'checkpoint': Reader(checkpoints, mutate_checkpoint, read_checkpoint),
    'maps': Reader(maps, mutate_maps, read_maps),
    'basis': Reader(bases, mutate_basis, read_basis),
    'image': Reader(images, mutate_image, read_image),
    'config': Reader(configs, mutate_config, read_config),
    'labels': Reader(labels, mutate_labels, read_labels),
}
