"""What a crop may be, and which window of an image it is."""

from __future__ import annotations

import pytest

from featmap.crop import Crop, parse_crop, parse_panel_size
from featmap.errors import DrawError, OptionError

BOXES = [[100, 100, 140, 120], [0, 0, 10, 8], [600, 440, 640, 480]]


@pytest.mark.parametrize(
    ('value', 'crop'),
    [
        ('10,20,110,100', Crop((10, 20, 110, 100))),
        ('(10, 20, 110.5, 100)', Crop((10, 20, 110.5, 100))),
        ('-5 -5 30 40', Crop((-5, -5, 30, 40))),
        ([10, 20, 110, 100], Crop((10, 20, 110, 100))),
        (('10', '20', '110', '100'), Crop((10, 20, 110, 100))),
        ('box:3', Crop(None, 3, 0.5)),
        (' box:0:1.25 ', Crop(None, 0, 1.25)),
        ('box:12:0', Crop(None, 12, 0.0)),
    ],
)
def test_what_is_a_crop(value, crop):
    assert parse_crop(value) == crop
    assert parse_crop(str(crop)) == crop


@pytest.mark.parametrize(
    'value',
    ['', 'box', 'box:', 'box:-1', 'box:x', 'box:1:', 'box:1:1e9', '1,2,3', '1,2,3,4,5', '10,20,10,30', '10,20,5,30',
     '10,30,20,30', 'a,b,c,d', 'nan,0,1,1', '0,0,inf,1', 7, [1, 2, 3], {'box': 3}, True, None],
)  # fmt: skip
def test_what_is_none(value):
    with pytest.raises(ValueError, match=r'^expected X1,Y1,X2,Y2'):
        parse_crop(value)


@pytest.mark.parametrize(
    ('crop', 'window'),
    [
        ('10,20,110,100', (10, 20, 110, 100)),
        ('10.7,20.2,109.2,100', (10, 20, 110, 100)),  # every pixel that is touched
        ('-50,-50,99999,30', (0, 0, 640, 30)),
        ('box:0', (80, 80, 160, 140)),  # half of 40 around
        ('box:0:2', (20, 20, 220, 200)),
        ('box:0:0', (100, 100, 140, 120)),
        ('box:1', (0, 0, 26, 24)),  # 16 pixels at least, cut at the edge
        ('box:2', (580, 420, 640, 480)),
    ],
)
def test_the_window(crop, window):
    assert parse_crop(crop).window((480, 640), BOXES) == window


@pytest.mark.parametrize('crop', ['640,0,700,10', '0,480,10,490', '-9,-9,0,0'])
def test_a_crop_beyond_the_image(crop):
    with pytest.raises(DrawError, match='lies outside of the image of 640×480 pixels'):
        parse_crop(crop).window((480, 640), None)


def test_a_detection_that_is_not_there():
    with pytest.raises(DrawError, match="crop='box:3': the image has only box:0 to box:2"):
        parse_crop('box:3').window((480, 640), BOXES)
    with pytest.raises(DrawError, match='no detection at all'):
        parse_crop('box:0').window((480, 640), [])
    with pytest.raises(OptionError, match='needs detections'):
        parse_crop('box:0').window((480, 640), None)


@pytest.mark.parametrize(
    ('value', 'size'), [(1280, 1280), ('640', 640), ('full', 'full'), (' Full ', 'full'), (32, 32)]
)
def test_panel_sizes(value, size):
    assert parse_panel_size(value) == size


@pytest.mark.parametrize('value', [0, 31, -1, 640.5, '640.5', 'big', None, True, [640], float('inf')])
def test_what_is_no_panel_size(value):
    with pytest.raises(ValueError, match=r'^expected the pixels'):
        parse_panel_size(value)
