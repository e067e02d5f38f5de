from __future__ import annotations

import pytest
from torch import nn

from featmap.errors import LayerError
from featmap.layers import children_to_try, list_names, parse, resolve


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Identity()
        self.stage1 = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), nn.ReLU()))
        self.stage2 = nn.Sequential(nn.Identity(), nn.Identity())
        self.register_module('downsample', None)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_convs = nn.ModuleList([nn.Identity(), nn.Identity()])
        shared = nn.ReLU()
        self.first, self.second = shared, shared
        self.named = nn.ModuleDict({'p3': nn.Identity(), 'p4': nn.Identity()})


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = nn.Identity()
        self.bbox_head = Head()


@pytest.fixture
def model() -> Detector:
    return Detector()


@pytest.mark.parametrize(
    ('name', 'parts'),
    [
        ('neck', [('neck', False)]),
        (' neck ', [('neck', False)]),
        ('neck.out_layers[2]', [('neck', False), ('out_layers', False), ('2', True)]),
        ('neck.out_layers.2', [('neck', False), ('out_layers', False), ('2', False)]),
        ('head[0][1]', [('head', False), ('0', True), ('1', True)]),
        ('a[ 0 ].b', [('a', False), ('0', True), ('b', False)]),
        ("out['cls']", [('out', False), ('cls', True)]),
        ('out["cls"]', [('out', False), ('cls', True)]),
        ('backbone.stage*', [('backbone', False), ('stage*', False)]),
    ],
)
def test_parse(name, parts):
    assert parse(name) == parts


MALICIOUS = [
    '',
    ' ',
    '.',
    'neck.',
    '.neck',
    'neck..0',
    'neck[',
    'neck]',
    'neck[]',
    'neck[0',
    'neck[[0]]',
    '[0]',
    'backbone; import os',
    'backbone stem',
    '__import__("os").system("touch x")',
    'neck\nneck',
]


@pytest.mark.parametrize('name', MALICIOUS)
def test_text_that_is_no_name_is_refused(model, name):
    with pytest.raises(LayerError):
        resolve(model, name)


@pytest.mark.parametrize(
    'name',
    [
        '__class__',
        '__dict__',
        'training',
        'forward',
        'backbone.forward',
        'backbone.__class__',
        'backbone._modules',
        'backbone._modules[stem]',
        'backbone.stem.forward.__globals__',
        'backbone.downsample',
        'backbone.downsample.conv',
        'neck.weight',
        'exit()',
    ],
)
def test_only_modules_can_be_reached(model, name):
    with pytest.raises(LayerError, match='the model has no layer'):
        resolve(model, name)


def test_names_do_not_run_code(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "neck[__import__('pathlib').Path('x').touch()]",
        "__import__('pathlib').Path('x').touch()",
        "backbone.stem[open('x','w')]",
        "backbone.stage1[open('x','w')]",
    ):
        try:
            targets = resolve(model, name)
        except LayerError:
            continue
        assert all(isinstance(key, str) for target in targets for key in target.path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('name', 'found'),
    [
        ('neck', 'neck'),
        ('backbone.stage1', 'backbone.stage1'),
        ('backbone.stage1.1.0', 'backbone.stage1.1.0'),
        ('backbone.stage1[1][0]', 'backbone.stage1.1.0'),
        ('backbone.stage1[1].0', 'backbone.stage1.1.0'),
        ('bbox_head.cls_convs[1]', 'bbox_head.cls_convs.1'),
        ('bbox_head.cls_convs.1', 'bbox_head.cls_convs.1'),
        ('bbox_head.named[p4]', 'bbox_head.named.p4'),
        ("bbox_head.named['p4']", 'bbox_head.named.p4'),
        ('bbox_head.second', 'bbox_head.second'),
    ],
)
def test_a_name_reaches_its_module(model, name, found):
    (target,) = resolve(model, name)
    assert (target.name, target.path, target.label) == (found, (), found)
    assert target.module is model.get_submodule(found)


@pytest.mark.parametrize(
    ('name', 'module', 'path'),
    [
        ('neck[0]', 'neck', ('0',)),
        ('neck[0][1]', 'neck', ('0', '1')),
        ('backbone.stem[cls]', 'backbone.stem', ('cls',)),
        ('backbone.stage1[0][1]', 'backbone.stage1.0', ('1',)),  # a child first, then its output
        ('backbone.stage1[7]', 'backbone.stage1', ('7',)),
    ],
)
def test_a_bracket_that_is_no_child_takes_an_element_of_the_output(model, name, module, path):
    (target,) = resolve(model, name)
    assert (target.name, target.path) == (module, path)
    assert target.module is model.get_submodule(module)
    assert target.label == module + ''.join(f'[{key}]' for key in path)


@pytest.mark.parametrize(
    ('name', 'found'),
    [
        ('backbone.stage*', ['backbone.stage1', 'backbone.stage2']),
        ('backbone.stage?', ['backbone.stage1', 'backbone.stage2']),
        ('backbone.*', ['backbone.stem', 'backbone.stage1', 'backbone.stage2']),
        ('*', ['backbone', 'neck', 'bbox_head']),
        ('*.stem', ['backbone.stem']),
        ('backbone.stage*.1', ['backbone.stage1.1', 'backbone.stage2.1']),
        ('backbone.stage*.1.0', ['backbone.stage1.1.0']),
        ('bbox_head.cls_convs[*]', ['bbox_head.cls_convs.0', 'bbox_head.cls_convs.1']),
    ],
)
def test_a_glob_matches_within_one_part(model, name, found):
    assert [target.name for target in resolve(model, name)] == found


@pytest.mark.parametrize('name', ['*stage1.1.0.x', 'back*stem', 'b*.1.0', 'neck.*', 'neck[*]'])
def test_a_glob_does_not_reach_across_parts(model, name):
    with pytest.raises(LayerError, match='the model has no layer'):
        resolve(model, name)


def test_a_module_stands_where_its_name_could(model):
    targets = resolve(model, [model.neck, 'backbone.stem'])
    assert [(target.name, target.module is model.neck) for target in targets] == [
        ('neck', True), ('backbone.stem', False)]  # fmt: skip
    assert [target.name for target in resolve(model, model.backbone.stem)] == ['backbone.stem']
    with pytest.raises(LayerError, match=r'the given Linear is no part of the model'):
        resolve(model, [nn.Linear(1, 1)])
    with pytest.raises(
        LayerError, match=r'is the model itself: expected one of its modules; nn\.Sequential\(model\) has'
    ):
        resolve(model, [model])
    assert [target.name for target in resolve(nn.Sequential(model), [model])] == ['0']


def test_a_part_of_what_is_asked_for_as_a_whole_adds_nothing(model):
    assert [target.label for target in resolve(model, ['neck[0]', 'neck[0][1]', 'neck[2]'])] == ['neck[0]', 'neck[2]']
    assert [target.label for target in resolve(model, ['neck[0]', 'neck'])] == ['neck']


def test_all_unknown_names_are_told_at_once(model):
    with pytest.raises(LayerError) as caught:
        resolve(model, ['nek', 'backbone.stem', 'backbone.stage9'])
    message = str(caught.value)
    assert message.startswith("the model has no layer 'nek'; nearest: ")
    assert "; the model has no layer 'backbone.stage9'; nearest: " in message


def test_several_names_keep_their_order_and_come_once(model):
    targets = resolve(model, ['neck', 'backbone.stem', 'neck', 'neck[0]', 'backbone.st*'])
    assert [target.label for target in targets] == [
        'neck',
        'backbone.stem',
        'backbone.stage1',
        'backbone.stage2',
    ]


def test_a_shared_module_is_reached_by_both_names_and_recorded_once(model):
    (first,), (second,) = resolve(model, 'bbox_head.first'), resolve(model, 'bbox_head.second')
    assert first.module is second.module
    assert (first.name, second.name) == ('bbox_head.first', 'bbox_head.second')
    assert [target.name for target in resolve(model, ['bbox_head.second', 'bbox_head.first'])] == ['bbox_head.second']


@pytest.mark.parametrize('names', [[], ()])
def test_no_name_at_all(model, names):
    with pytest.raises(LayerError, match='no target layer was given'):
        resolve(model, names)


@pytest.mark.parametrize(
    ('name', 'nearest'),
    [
        ('nekc', ['neck', 'backbone', 'bbox_head']),
        ('backbone.stage3', ['backbone.stage2', 'backbone.stage1', 'backbone.stem']),
        ('backbone.stage1.2', ['backbone.stage1.1', 'backbone.stage1.0']),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(model, name, nearest):
    with pytest.raises(LayerError) as caught:
        resolve(model, name)
    message = str(caught.value)
    assert message.startswith(f"the model has no layer '{name}'; nearest: ")
    listed = message.partition('nearest: ')[2].partition(';')[0].split(', ')
    assert len(listed) == 3
    assert sorted(listed[: len(nearest)]) == sorted(nearest)
    assert listed[0] == nearest[0] or name != 'nekc'


def test_all_names_are_listed_parents_first(model):
    names = list_names(model)
    assert '' not in names
    assert names[:3] == ['backbone', 'backbone.stem', 'backbone.stage1']
    assert names.index('bbox_head') < names.index('bbox_head.cls_convs') < names.index('bbox_head.cls_convs.0')


def test_children_to_try_are_cut(model):
    assert children_to_try('bbox_head.cls_convs', model.bbox_head.cls_convs) == (
        'bbox_head.cls_convs.0, bbox_head.cls_convs.1'
    )
    many = nn.ModuleList([nn.Identity() for _ in range(8)])
    assert children_to_try('x', many, 2) == 'x.0, x.1, …'
    assert children_to_try('x', nn.Identity()) == ''
