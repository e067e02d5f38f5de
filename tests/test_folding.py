from __future__ import annotations

import pytest

from featmap.folding import MOST_LINES, fold
from featmap.layer_tree import LayerInfo


def tree(*names: str) -> list[LayerInfo]:
    return [LayerInfo(name, 'Module', (), (), 0, 1) for name in names]


NET = tree('stem', 'body', 'body.0', 'body.0.conv', 'body.0.norm', 'body.1', 'body.1.conv', 'body.1.conv.act', 'head')


def folded(layers: list[LayerInfo], depth: int | None) -> list[tuple[str, int]]:
    return [(line.layer.name, line.hidden) for line in fold(layers, depth)]


@pytest.mark.parametrize(
    ('depth', 'expected'),
    [
        (1, [('stem', 0), ('body', 6), ('head', 0)]),
        (2, [('stem', 0), ('body', 0), ('body.0', 2), ('body.1', 2), ('head', 0)]),
        (3, [(layer.name, int(layer.name == 'body.1.conv')) for layer in NET if layer.name != 'body.1.conv.act']),
        (4, [(layer.name, 0) for layer in NET]),
        (99, [(layer.name, 0) for layer in NET]),
        (None, [(layer.name, 0) for layer in NET]),
    ],
)
def test_a_depth(depth, expected):
    assert folded(NET, depth) == expected


def test_depth_counts_from_what_is_listed():
    part = tree('neck.out.0', 'neck.out.0.conv', 'neck.out.0.conv.bn', 'neck.out.00')
    assert folded(part, 1) == [('neck.out.0', 2), ('neck.out.00', 0)]
    assert folded(part, 2) == [('neck.out.0', 0), ('neck.out.0.conv', 1), ('neck.out.00', 0)]


def test_without_a_depth_as_deep_as_the_lines_allow():
    blocks = [f'blocks.{number}' for number in range(MOST_LINES - 1)]
    deep = [name for block in blocks for name in (block, f'{block}.mlp')]
    assert folded(tree('blocks', *deep), None) == [('blocks', 0), *((block, 1) for block in blocks)]
    assert len(folded(tree('blocks', *deep, 'blocks.99'), None)) == 1
    wide = tree(*(f'layer{number}' for number in range(150)))
    assert len(folded(wide, None)) == 150
    assert fold([]) == []
