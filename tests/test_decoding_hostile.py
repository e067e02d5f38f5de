"""Image files that would cost more than an image, or are something else inside."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from featmap import decoding
from featmap.decoding import decode_image
from featmap.errors import SourceError
from featmap.options.groups import Inputs
from featmap.sources import list_sources
from tests.conftest import CHECKPOINT, CONFIG
from tests.test_decoding import NOISE, encode


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'I;16', 'I'])
@pytest.mark.parametrize('orientation', [1, 6])
def test_in_strips_it_comes_out_alike(monkeypatch, mode, orientation):
    if mode.startswith('I'):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (9, 6), np.uint16).astype(mode_type(mode)))
    else:
        image = NOISE.crop((0, 0, 6, 9)).convert(mode)
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(image, 'TIFF', exif=exif)
    whole = decode_image(data, 'x')
    monkeypatch.setattr(decoding, '_STRIP', 12)
    np.testing.assert_array_equal(decode_image(data, 'x'), whole)


def mode_type(mode: str) -> str:
    return 'u2' if mode == 'I;16' else 'i4'


@pytest.mark.parametrize(('mode', 'kind'), [('I;16', 'PNG'), ('RGBA', 'WEBP'), ('RGB', 'JPEG')])
def test_besides_the_decoders_own_there_is_one_copy(monkeypatch, mode, kind):
    data = encode(Image.new(mode, (1000, 800)), kind)
    decode_image(data, 'x')
    monkeypatch.setattr(decoding, '_STRIP', 10_000)
    tracemalloc.start()
    try:
        decode_image(data, 'x')
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    webps_own = 4 * 1000 * 800 if kind == 'WEBP' else 0
    assert peak < 3 * 1000 * 800 + webps_own + 400_000


EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n'


@pytest.mark.parametrize(
    'data', [EPS, b'\xc5\xd0\xd3\xc6' + struct.pack('<IIHHIIII', 30, len(EPS), 0, 0, 0, 0, 0, 0)[:26] + EPS]
)
def test_what_is_postscript_inside_starts_nothing(monkeypatch, data):
    started = []
    monkeypatch.setattr('subprocess.check_call', lambda *args, **options: started.append(args))
    monkeypatch.setattr('PIL.EpsImagePlugin.gs_binary', 'gs')
    for name in ('photo.jpg', 'photo.eps'):
        with pytest.raises(SourceError, match='a PostScript drawing: export it as PNG'):
            decode_image(data, name)
    assert started == []
    with pytest.raises(OSError, match='a'), Image.open(io.BytesIO(EPS)) as image:  # the file is a live one
        image.load()
    assert started


@pytest.mark.parametrize('kind', ['ICO', 'PCX', 'SGI', 'IM', 'DDS'])
def test_formats_that_few_have_looked_at_are_not_read(kind):
    data = encode(Image.new('RGB', (16, 16)), kind)
    assert Image.open(io.BytesIO(data)).format == kind
    with pytest.raises(SourceError, match='convert it to PNG or JPEG'):
        decode_image(data, f'x.{kind.lower()}')


def test_tiles_are_as_large_as_they_say():
    tags = {256: 8, 257: 8, 258: 8, 259: 5, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 0, 325: 64}
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    tiff = b'II*\0' + struct.pack('<IH', 8, len(tags)) + entries + bytes(100)
    assert Image.open(io.BytesIO(tiff)).size == (8, 8)
    with pytest.raises(SourceError, match='60000 x 60000 pixels in a tile, over the limit'):
        decode_image(tiff, 'x.tif')


def test_the_options_default_is_the_decoders():
    assert Inputs().max_pixels == decoding.MAX_PIXELS


@pytest.mark.parametrize(('limit', 'status'), [('6144', 0), ('6143', 2)])
def test_the_limit_is_an_option(run, photo, limit, status):
    done = run(photo, CONFIG, CHECKPOINT, '--max-pixels', limit, '--no-boxes', '--target-layers', 'neck')
    assert done.status == status
    if status:
        assert '96 x 64 pixels, over the limit of 0.006143 million' in done.error
        assert '--max-pixels' in done.error


def test_the_limit_holds_in_folders_and_in_python(photo):
    for image in (photo, photo.parent, [photo]):
        for source in list_sources(image, max_pixels=6144):
            assert source.read().shape == (64, 96, 3)
        with pytest.raises(SourceError, match='over the limit'):
            [source.read() for source in list_sources(image, max_pixels=6143)]


def test_a_jpeg_of_many_scans():
    data = encode(NOISE, 'JPEG', progressive=True)
    scan = data[data.rindex(b'\xff\xda') : -2]
    assert decode_image(data, 'x', 2400).shape == (40, 60, 3)
    assert decode_image(data[:-2] + scan * 5 + data[-2:], 'x', 2400).shape == (40, 60, 3)
    with pytest.raises(SourceError, match=r'is \d+ scans of 60 x 40 pixels'):
        decode_image(data[:-2] + scan * 25 + data[-2:], 'x', 2400)
