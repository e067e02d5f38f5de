from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from featmap.decoding import check_header, decode_image, describe
from featmap.errors import SourceError

RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (90, 90, 90)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cv2_encode(suffix: str, array: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, array)
    assert done
    return data.tobytes()


def with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with the value of one of its short tags replaced."""
    start = tiff.index(struct.pack('<HHI', tag, 3, 1))
    return tiff[: start + 8] + struct.pack('<H', value) + tiff[start + 10 :]


def ycbcr_tiff(width: int, height: int, shared: int, data: bytes) -> bytes:
    """An uncompressed TIFF of luma blocks and chroma that ``shared`` x ``shared`` pixels have in common."""
    short, long = 3, 4
    bits = 8 + 2 + 12 * 10 + 4
    tags = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, 3, bits),
        (259, short, 1, 1),
        (262, short, 1, 6),
        (273, long, 1, bits + 6),
        (277, short, 1, 3),
        (278, short, 1, height),
        (279, long, 1, len(data)),
        (530, short, 2, shared << 16 | shared),
    ]
    entries = b''.join(struct.pack('<HHII', *tag) for tag in tags)
    return struct.pack('<2sHIH', b'II', 42, 8, len(tags)) + entries + struct.pack('<I3H', 0, 8, 8, 8) + data


def lab_red() -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB')
    return ImageCms.applyTransform(Image.new('RGB', (8, 8), RED), transform)


def palette(*rgb: int, transparency: bytes | None = None) -> bytes:
    image = Image.new('P', (8, 8), 1)
    image.putpalette([0, 0, 0, *rgb])
    return encode(image, 'PNG', **({} if transparency is None else {'transparency': transparency}))


def animated(kind: str) -> bytes:
    frames = [Image.new('RGB', (8, 8), colour) for colour in (RED, BLUE)]
    options = {'lossless': True} if kind == 'WEBP' else {}
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize(
    ('data', 'expected', 'tolerance'),
    [
        pytest.param(encode(Image.new('RGB', (8, 8), RED), 'PNG'), RED, 0, id='rgb png'),
        pytest.param(encode(Image.new('RGB', (8, 8), RED), 'JPEG'), RED, 2, id='rgb jpeg'),
        pytest.param(encode(Image.new('RGB', (8, 8), RED), 'BMP'), RED, 0, id='bmp'),
        pytest.param(encode(Image.new('RGB', (8, 8), RED), 'PPM'), RED, 0, id='ppm'),
        pytest.param(encode(Image.new('L', (8, 8), 90), 'PNG'), GREY, 0, id='grey png'),
        pytest.param(encode(Image.new('L', (8, 8), 90), 'JPEG'), GREY, 1, id='grey jpeg'),
        pytest.param(encode(Image.new('1', (8, 8), 1), 'PNG'), (255, 255, 255), 0, id='1 bit'),
        pytest.param(encode(Image.new('LA', (8, 8), (90, 0)), 'PNG'), GREY, 0, id='grey alpha'),
        pytest.param(encode(Image.new('RGBA', (8, 8), (*RED, 0)), 'PNG'), RED, 0, id='alpha png'),
        pytest.param(encode(Image.new('RGBA', (8, 8), (*RED, 9)), 'TIFF'), RED, 0, id='alpha tiff'),
        pytest.param(palette(*RED), RED, 0, id='palette'),
        pytest.param(palette(*RED, transparency=b'\x00\x00'), RED, 0, id='transparent palette'),
        pytest.param(encode(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), 'JPEG'), RED, 2, id='cmyk jpeg'),
        pytest.param(encode(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), 'TIFF'), RED, 0, id='cmyk tiff'),
        pytest.param(encode(Image.new('RGB', (8, 8), RED).convert('YCbCr'), 'TIFF'), RED, 2, id='ycbcr'),
        pytest.param(ycbcr_tiff(8, 8, 1, bytes([76, 85, 255]) * 64), RED, 2, id='whole ycbcr'),
        pytest.param(ycbcr_tiff(8, 8, 2, bytes([76] * 4 + [85, 255]) * 16), RED, 2, id='ycbcr with shared chroma'),
        pytest.param(encode(lab_red(), 'TIFF'), RED, 6, id='lab'),
        pytest.param(animated('GIF'), RED, 0, id='animated gif'),
        pytest.param(animated('WEBP'), RED, 0, id='animated webp'),
        pytest.param(animated('PNG'), RED, 0, id='animated png'),
        pytest.param(animated('TIFF'), RED, 0, id='many-page tiff'),
    ],
)
def test_every_mode_becomes_rgb_of_8_bits(data, expected, tolerance, recwarn):
    image = decode_image(data, 'x')
    assert (image.shape, image.dtype) == ((8, 8, 3), np.uint8)
    assert image.flags.c_contiguous
    assert image.flags.writeable
    np.testing.assert_allclose(image.astype(int), np.broadcast_to(expected, (8, 8, 3)), 0, tolerance)
    assert not recwarn.list


# 16 bits: white is white, 257 is 1, and a half is a half. (0 and 65535 show a clipping decoder.)
WIDE = np.array([[0, 257, 32896], [514, 51400, 65535]], np.uint16)
NARROW = np.array([[0, 1, 128], [2, 200, 255]], np.uint8)


@pytest.mark.parametrize(
    'data',
    [
        pytest.param(cv2_encode('.png', WIDE), id='png'),
        pytest.param(cv2_encode('.pgm', WIDE), id='pgm'),
        pytest.param(cv2_encode('.tif', WIDE), id='tiff'),
        pytest.param(encode(Image.fromarray(WIDE.astype('>u2')), 'TIFF'), id='big-endian tiff'),
        pytest.param(encode(Image.fromarray(WIDE.astype(np.int32)), 'TIFF'), id='32-bit tiff'),
        pytest.param(with_tag(encode(Image.fromarray(65535 - WIDE), 'TIFF'), 262, 0), id='white is zero'),
    ],
)
def test_wide_grey_is_scaled_by_257(data):
    np.testing.assert_array_equal(decode_image(data, 'x'), np.repeat(NARROW[:, :, None], 3, 2))


def test_wide_grey_is_rounded():
    data = cv2_encode('.png', np.array([[0, 128, 129, 385, 386]], np.uint16))
    assert decode_image(data, 'x')[0, :, 0].tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.ppm'])
def test_wide_colour_is_scaled_and_keeps_its_order(suffix):
    rgb = np.stack([WIDE, WIDE.T.reshape(2, 3), WIDE[::-1]], axis=2)
    narrow = np.stack([NARROW, NARROW.T.reshape(2, 3), NARROW[::-1]], axis=2)
    image = decode_image(cv2_encode(suffix, rgb[..., ::-1]), 'x')
    np.testing.assert_array_equal(image, narrow)


CORNERS = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)  # the stored pixels


@pytest.mark.parametrize(
    ('orientation', 'upright'),
    [
        (1, CORNERS),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
@pytest.mark.parametrize(
    ('kind', 'options'),
    [('PNG', {}), ('TIFF', {}), ('TIFF', {'compression': 'tiff_lzw'}), ('WEBP', {'lossless': True})],
    ids=['png', 'tiff', 'lzw', 'webp'],
)
def test_the_exif_orientation_is_applied_once(kind, options, orientation, upright):
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(Image.fromarray(CORNERS).convert('RGB'), kind, exif=exif, **options)
    np.testing.assert_array_equal(decode_image(data, 'x')[..., 0], upright)


@pytest.mark.parametrize('orientation', [0, 9])
def test_an_orientation_that_does_not_exist_is_none(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(Image.fromarray(CORNERS).convert('RGB'), 'PNG', exif=exif)
    np.testing.assert_array_equal(decode_image(data, 'x')[..., 0], CORNERS)


def test_a_phones_jpeg_is_turned():
    exif = Image.Exif()
    exif[274] = 6
    image = Image.new('RGB', (32, 16), BLUE)
    image.paste(RED, (0, 0, 16, 16))
    turned = decode_image(encode(image, 'JPEG', exif=exif), 'x')
    assert turned.shape == (32, 16, 3)
    np.testing.assert_allclose(turned[4, 8].astype(int), RED, atol=3)
    np.testing.assert_allclose(turned[28, 8].astype(int), BLUE, atol=3)


def test_broken_exif_does_not_cost_the_picture():
    data = encode(Image.new('RGB', (8, 8), RED), 'PNG', exif=b'neither II nor MM')
    with pytest.warns(UserWarning, match=r"'x\.png' has EXIF data that cannot be read"):
        image = decode_image(data, 'x.png')
    assert tuple(image[0, 0]) == RED


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'TIFF', 'WEBP', 'GIF', 'PPM', 'JPEG2000', 'TGA'])
@pytest.mark.parametrize('kept', [0.04, 0.5, 0.8])
def test_a_truncated_file_is_an_error_not_half_a_picture(kind, kept):
    data = encode(NOISE, kind)
    with pytest.raises(SourceError, match=r"'cut' .*damaged or cut off"):
        decode_image(data[: int(len(data) * kept)], 'cut')


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        pytest.param(b'', r'is empty \(0 bytes\)', id='empty'),
        pytest.param(encode(Image.fromarray(f32(2, 3)), 'TIFF'), 'image of floats', id='float grey'),
        pytest.param(cv2_encode('.tif', f32(2, 3, 3)), 'unsupported kind .floats', id='float rgb'),
        pytest.param(
            with_tag(cv2_encode('.tif', np.zeros((2, 3, 3), np.uint16)), 284, 2),
            'separate colour planes',
            id='planes of 16 bits',
        ),
        pytest.param(encode(Image.new('I', (2, 2), 70000), 'TIFF'), 'from 70000 to 70000', id='32 bits'),
        pytest.param(encode(Image.new('I', (2, 2), -1), 'TIFF'), 'grey values from -1', id='negative'),
        pytest.param(b'P6 30000 30000 255\n', 'over the limit of 200 million', id='bomb'),
        pytest.param(b'P6 0 5 255\n', 'no pixels|damaged', id='no pixels'),
        pytest.param(b'GIF89a\0\0\0\0\0\0\0', 'no pixels|damaged', id='no pixels gif'),
    ],
)
def test_what_cannot_be_decoded_says_why_in_one_line(data, message):
    with pytest.raises(SourceError, match=message) as caught:
        decode_image(data, 'some\nname.tif')
    assert '\n' not in str(caught.value)


def test_large_images_are_read_and_pillows_limit_is_left_as_it_was(monkeypatch, recwarn):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    for kind in ('PNG', 'TIFF', 'GIF', 'WEBP'):
        assert decode_image(encode(Image.new('RGB', (8, 8), RED), kind), 'x').shape == (8, 8, 3)
    with pytest.raises(SourceError):
        decode_image(b'nothing', 'x')
    assert Image.MAX_IMAGE_PIXELS == 10
    assert not recwarn.list


def test_the_limit_counts_pixels_and_includes_itself():
    data = encode(Image.new('RGB', (8, 8), RED), 'PNG')
    assert decode_image(data, 'x', max_pixels=64).shape == (8, 8, 3)
    with pytest.raises(SourceError, match=r'8 x 8 pixels, over the limit of 6\.3e-05 million'):
        decode_image(data, 'x', max_pixels=63)
    with pytest.raises(SourceError, match='8 x 8 pixels'):
        check_header(io.BytesIO(data), 'x', max_pixels=63)


def test_check_header_reads_no_pixels():
    data = encode(NOISE, 'JPEG')
    check_header(io.BytesIO(data), 'x')
    check_header(io.BytesIO(data[: len(data) // 2]), 'x')
    with pytest.raises(SourceError, match='text file'):
        check_header(io.BytesIO(b'hello'), 'x')
    with pytest.raises(SourceError, match='empty'):
        check_header(io.BytesIO(b''), 'x')


@pytest.mark.parametrize(
    ('head', 'name', 'expected'),
    [
        (b'%PDF-1.7\n', 'a.jpg', 'PDF'),
        (b'PK\x03\x04' + bytes(26) + b'archive/data.pkl', 'a', 'IMG CONFIG CHECKPOINT'),
        (b'\x80\x02}q\x00', 'a', 'IMG CONFIG CHECKPOINT'),
        (b'\xfe\x00\x01', 'm.pth', 'IMG CONFIG CHECKPOINT'),
        (b"_base_ = './x.py'\n", 'rtmdet.py', 'config: the order'),
        (b'PK\x03\x04' + bytes(40), 'a.zip', 'archive'),
        (b'\x00\x00\x00\x18ftypheic', 'a.jpg', 'HEIC'),
        (b'\x00\x00\x00\x18ftypavif', 'a.avif', 'AVIF'),
        (b'\x00\x00\x00\x18ftypisom', 'a.bin', 'video'),
        (b'RIFF\x00\x00\x00\x00AVI LIST', 'a', 'video'),
        (b'anything', 'clip.MOV', 'extract frames'),
        (b'\x93NUMPY\x01\x00', 'a.npy', 'NumPy'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'a.jpg', 'git lfs pull'),
        (b'\n<!DOCTYPE html><html>', 'https://x.org/a.jpg', 'web page'),
        (b'<?xml version="1.0"?>\n<svg>', 'a.svg', 'SVG'),
        (b'\xff\xd8\xff\xe0', 'a.jpg', 'damaged or cut off'),
        (b'II*\x00', 'a.tif', 'TIFF'),
        ('grün'.encode()[:-2], 'a.txt', 'text file'),  # cut in the middle of a letter
        (b'\x00\x01\x02\xff', 'a.jpg', 'binary data'),
    ],
)
def test_describe_names_the_kind_and_the_way_out(head, name, expected):
    assert expected in describe(head, name)
