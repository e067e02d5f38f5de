"""What callers put together themselves: nonsense is told at once, not drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from featmap.errors import DrawError, GeometryError
from featmap.figure import draw_figure
from featmap.geometry import ImageGeometry
from featmap.structures import FeatureMap
from featmap.visualizer import FeatMapVisualizer

IMAGE = np.zeros((40, 60, 3), np.uint8)


def a_map(**fields) -> FeatureMap:
    geometry = ImageGeometry.whole((40, 60))
    given = {'values': np.ones((1, 4, 6), np.float32), 'layer': 'neck', 'shape': (8, 4, 6), 'stride': (10.0, 10.0)}
    return FeatureMap(**{**given, 'geometry': geometry, **fields})


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        ({'values': np.ones((4, 6), np.float32)}, r'expected values of \(K, h, w\) floats, got float32 \(4, 6\)'),
        ({'values': np.ones((1, 4, 6), complex)}, r'floats, got complex128'),
        ({'values': np.ones((1, 4, 6), int)}, r'floats, got int64'),
        ({'values': None}, r'floats, got NoneType$'),
        ({'values': torch.ones(1, 4, 6)}, r'got Tensor: \.detach\(\)\.cpu\(\)\.numpy\(\) makes an array'),
        ({'values': np.ones((0, 4, 6))}, r'floats, got float64 \(0, 4, 6\)'),
        ({'shape': (8, 7, 9)}, r'values of \(1, 4, 6\) for a shape \(C, h, w\) of \(8, 7, 9\)'),
        ({'shape': (4, 6)}, r'for a shape'),
        ({'stride': 8}, r'expected two numbers as the stride, vertical first, got 8$'),
        ({'offset': (0.0,)}, r'expected two numbers as the offset, vertical first'),
        ({'stride': (0, 10)}, r'expected finite numbers, strides above 0'),
        ({'stride': (-10, -10)}, r'expected finite numbers, strides above 0'),
        ({'stride': (math.nan, 10)}, r'expected finite numbers, strides above 0'),
        ({'offset': (math.nan, 0)}, r'expected finite numbers'),
        ({'geometry': None}, r'expected an ImageGeometry, got NoneType'),
        ({'kind': 'x'}, r"1 planes of kind 'x', expected one of heat, image"),
        ({'kind': 'image', 'values': np.ones((2, 4, 6))}, r"2 planes of kind 'image'"),
        ({'kind': 'segments', 'values': np.full((1, 4, 6), -5.0)}, r'groups of other numbers than 0 to 255'),
        ({'kind': 'segments', 'values': np.full((1, 4, 6), 1e9)}, r'groups of other numbers than 0 to 255'),
        ({'channels': (1, 2, 3)}, r'3 channels for 1 planes'),
        ({'ranges': ((0, 1), (0, 1))}, r'2 ranges for 1 planes'),
    ],
)
def test_a_map_that_could_not_be_drawn_is_refused(fields, said):
    with pytest.raises(DrawError, match=said):
        a_map(**fields)


@pytest.mark.parametrize(
    ('image', 'maps', 'detections', 'said'),
    [
        (IMAGE.astype(float), [a_map()], None, r'float64 \(40, 60, 3\) was given as the image'),
        (IMAGE[:, :, 0], [a_map()], None, r'uint8 \(40, 60\) was given as the image'),
        (IMAGE[:0], [a_map()], None, r'was given as the image'),
        ('dog.png', [a_map()], None, r'str was given as the image: expected an array of \(H, W, 3\)'),
        (IMAGE, a_map(), None, r'FeatureMap was given as the maps: expected a list of FeatureMap'),
        (IMAGE, [np.ones((1, 4, 6))], None, r'list was given as the maps'),
        (IMAGE, None, None, r'NoneType was given as the maps'),
        (IMAGE, [a_map()], np.zeros((1, 6)), r'ndarray was given as the detections'),
    ],
)
def test_what_is_no_image_and_no_maps_is_not_drawn(image, maps, detections, said):
    visualizer = FeatMapVisualizer()
    for draw in (visualizer.draw_maps, visualizer.draw_sheets, draw_figure):
        with pytest.raises(DrawError, match=said):
            draw(image, maps, detections)


@pytest.mark.parametrize(
    'fields',
    [
        {'image_shape': (math.nan, 10)},
        {'image_shape': 10},
        {'image_shape': (10, 10, 3)},
        {'image_shape': (10.5, 10)},
        {'input_shape': (-10, 10)},
        {'input_shape': 'ab'},
        {'scale': 2.0},
        {'scale': (1, 1, 1)},
        {'scale': (math.inf, 1)},
        {'offset': (math.nan, 0)},
        {'offset': 5},
        {'flip': True},
        {'flip': ('a', 'b')},
        {'crop': (1, 2)},
        {'crop': (math.nan, 0, 5, 5)},
    ],
)
def test_a_geometry_of_nonsense(fields):
    with pytest.raises(GeometryError, match='expected '):
        ImageGeometry(**{'image_shape': (10, 10), 'input_shape': (10, 10), **fields})


@pytest.mark.parametrize('entry', [{'scale_factor': 'x'}, {'pad_param': (1,)}, {'ori_shape': ('a', 'b')}])
def test_metainfo_of_nonsense(entry):
    with pytest.raises(GeometryError, match='the metainfo of the test pipeline cannot be read: '):
        ImageGeometry.from_metainfo({'ori_shape': (5, 5), 'batch_input_shape': (5, 5), **entry})


@pytest.mark.parametrize('stride', [(0, 0), (-1, 1), (math.nan, 1), 5])
def test_a_warp_by_a_stride_of_nonsense(stride):
    with pytest.raises(GeometryError, match=r'a stride .*: expected two positive numbers'):
        ImageGeometry.whole((40, 60)).warp(np.zeros((1, 4, 6)), stride)
