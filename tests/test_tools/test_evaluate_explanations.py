"""The tool that measures explanations: its maps, records and tables, and a run on one scene."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluate_explanations import main
from explanation_tables.maps import MapSpec, by_target
from explanation_tables.pictures import coco, scenes, singles, small
from explanation_tables.records import Record, Records, read_records
from explanation_tables.tables import estimate, insert, markdown
from PIL import Image

from featmap.errors import ConfigError, OptionError, SourceError
from featmap.explanation import Explanation
from featmap.geometry import ImageGeometry
from featmap.structures import FeatureMap


@pytest.mark.parametrize(
    ('text', 'method', 'layers', 'fuse', 'name'),
    [
        ('drise', 'drise', (), 'mean', 'drise'),
        ('layercam@neck', 'layercam', ('neck',), 'mean', 'layercam @ neck'),
        ('odam@a.b,c:product', 'odam', ('a.b', 'c'), 'product', 'odam @ a.b × c'),
        ('odam@a,b', 'odam', ('a', 'b'), 'mean', 'odam @ a + b'),
    ],
)
def test_maps_are_read(text, method, layers, fuse, name):
    spec = MapSpec.parse(text)
    assert (spec.method, spec.layers, spec.fuse, spec.name) == (method, layers, fuse, name)


@pytest.mark.parametrize('text', ['', '@neck', 'layercam@', 'layercam@a,b:none', 'layercam@a:sum'])
def test_what_is_no_map_is_refused(text):
    with pytest.raises(OptionError, match='is no map'):
        MapSpec.parse(text)


def explanation(index, method, layer, level, path=''):
    """Heat of 1 in one corner and ``level`` in the next; none at all for a level of 0."""
    values = np.array([[[1, level], [0, 0]]], np.float32) * (level > 0)
    item = FeatureMap(values, layer, (1, 2, 2), (1.0, 1.0), ImageGeometry.whole((2, 2)), path)
    return Explanation(f'box {index}', method, (item,), index=index)


def test_heats_are_sorted_by_target_and_fused():
    found = by_target(
        [
            explanation(0, 'layercam', 'a', 0.5),
            explanation(0, 'layercam', 'b', 0.25),
            explanation(0, 'eigen', 'a', 0.1),
            explanation(1, 'layercam', 'a', 0.2),
            explanation(1, 'layercam', 'n', 0.0, '[0]'),
            explanation(1, 'layercam', 'n', 1.0, '[1]'),
            explanation(1, 'eigen', 'a', 0.1),
        ],
        agnostic=['eigen'],
    )
    assert found[0]['eigen', 'a'] is found[1]['eigen', 'a']
    assert found[1]['layercam', 'a'] is not found[0]['layercam', 'a']
    # A level that had nothing to do with the target does not halve the others.
    np.testing.assert_array_equal(found[1]['layercam', 'n'], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(MapSpec.parse('layercam@a').heat(found[0]), [[1, 0.5], [0, 0]])
    np.testing.assert_allclose(MapSpec.parse('layercam@a,b:product').heat(found[0]), [[1, 0.125**0.5], [0, 0]])


def test_the_interval_is_of_images_not_of_targets():
    alike = [(value, f'image {number}') for number, value in enumerate([0.0, 1.0] * 10) for _ in range(50)]
    found = estimate(alike)
    assert (found.mean, found.targets, found.images) == (0.5, 1000, 20)
    # 20 images of 0 or 1: a standard error of 0.11, and not the 0.016 of a thousand targets.
    assert found.low == pytest.approx(0.5 - 1.96 * 0.112, abs=0.04)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.112, abs=0.04)
    assert estimate(alike) == found
    assert estimate([]) is None
    assert estimate([(0.25, 'one')])[:3] == (0.25, 0.25, 0.25)


def record(image, target, name, gap=None, energy=0.5, targets=2):
    curves = {} if gap is None else {'value': 1.0, 'insertion': gap, 'deletion': 0.0}
    return Record(image, target, targets, 'dog', name, 0.1, energy=energy, **curves)


def test_a_table_holds_each_map_against_the_box_on_the_same_targets():
    records = [
        record('a', 0, 'good', 0.8),
        record('a', 1, 'good'),
        record('b', 0, 'good', 0.4, energy=1.0),
        record('a', 0, 'box', 0.5),
        record('b', 0, 'box', 0.5),
        record('b', 1, 'box', 0.9),
    ]
    lines = markdown(records, order=('box',)).splitlines()
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    heads = rows[0]
    assert [row[0] for row in rows[2:]] == ['`good`', '`box`']
    good, box = (dict(zip(heads, row)) for row in rows[2:])
    assert good['insertion − deletion'].startswith('0.600 (')
    assert good['above that of the box'] == '0.100 (−0.100 … 0.300)'  # 0.3 on one, −0.1 on the other
    assert good['heat in the box'].startswith('0.667 (')
    assert (good['targets'], good['of which curves']) == ('3 in 2', '2 in 2')
    assert box['above that of the box'] == '0'
    assert len({len(row) for row in rows}) == 1


def test_records_go_on_where_they_ended(tmp_path):
    path, head = tmp_path / 'records.jsonl', {'protocol': 'p'}
    records = Records(path, head)
    assert records.missing('a', 'good', 1)
    records.add([record('a', 0, 'good', 0.8), record('a', 1, 'good')])
    assert not records.missing('a', 'good', 1)
    assert records.missing('a', 'good', 2)
    assert records.missing('a', 'good', None)
    assert records.missing('b', 'good', 0)
    with path.open('a') as file:
        file.write('{"image": "b", "targ')  # stopped in the middle

    again = Records(path, head)
    assert list(again) == list(records)
    again.add([record('a', 0, 'good'), record('a', 1, 'good', 0.3)])
    found_head, lines = read_records(path)
    assert found_head == head
    assert len(lines) == 4
    assert not Records(path, head).missing('a', 'good', None)  # curves stay where a later run measured none
    half = Records(tmp_path / 'half.jsonl', head)
    half.add([record('a', 0, 'good', 0.8)])
    assert half.missing('a', 'good', 1)  # one of two targets
    with pytest.raises(ConfigError, match="protocol 'p' there, 'q' here"):
        Records(path, {'protocol': 'q'})


def test_a_table_takes_the_place_of_the_one_before(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('Above.\n<!-- boxes: made by a tool -->\nold\n<!-- end of boxes -->\nBelow.\n', encoding='utf-8')
    insert(page, 'boxes', '| new \\1 |')
    expected = 'Above.\n<!-- boxes: made by a tool -->\n| new \\1 |\n<!-- end of boxes -->\nBelow.\n'
    assert page.read_text(encoding='utf-8') == expected
    with pytest.raises(ConfigError, match='no marks <!-- others'):
        insert(page, 'others', '')


def test_pictures_of_a_coco_file(tmp_path):
    Image.new('RGB', (8, 6), (10, 20, 30)).save(tmp_path / 'one.png')
    content = {'images': [{'id': 1, 'file_name': 'one.png'}], 'annotations': [], 'categories': []}
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    [picture] = coco(tmp_path / 'labels.json', tmp_path)
    image, box = picture.open()
    assert (picture.name, image.shape, box) == ('one.png', (6, 8, 3), None)
    (tmp_path / 'labels.json').write_text('[]')
    with pytest.raises(SourceError, match='no file of COCO'):
        list(coco(tmp_path / 'labels.json', tmp_path))


def test_scenes_are_those_that_nothing_was_trained_on():
    assert [picture.name for picture in scenes(2)] == ['scene 1000000', 'scene 1000001']
    image, box = next(singles(1)).open()
    assert image.shape == (400, 640, 3)
    assert 0 < box[0] < box[2] <= 640
    assert [picture.open()[0].shape for picture in small(3)] == [(128, 192, 3), (192, 144, 3), (192, 192, 3)]


def test_a_run_and_its_rerun(tmp_path, capsys):
    out, page = tmp_path / 'records.jsonl', tmp_path / 'page.md'
    page.write_text('<!-- detector: here -->\n<!-- end of detector -->\n', encoding='utf-8')
    options = ['--count', '1', '--first-seed', '1000005', '--curves', '1', '--areas', 'equal', '--steps', '3']
    options += ['--threads', '1', '--device', 'cpu', '--out', str(out)]
    main([*options, '--maps', 'layercam@backbone.stage2', '--controls', 'box'])
    first = out.read_text()
    main([*options, '--maps', 'layercam@backbone.stage2', 'eigen@backbone.stage2', '--controls', 'box'])
    assert out.read_text().startswith(first)  # nothing is measured twice
    capsys.readouterr()
    main(['--table', '--out', str(out), '--write', str(page)])
    head, records = read_records(out)
    assert head['protocol'].startswith('featmap-1 · IoU × score · 3 equal areas · blur')
    by_map = {name: [each for each in records if each.map == name] for name in ('layercam @ backbone.stage2', 'box')}
    found, box = by_map['layercam @ backbone.stage2'], by_map['box']
    assert len(found) == len(box) == found[0].targets > 1
    assert [each.target for each in found if each.value] == [each.target for each in box if each.value]
    assert len([each for each in found if each.value]) == 1
    assert np.mean([each.energy for each in found]) > 0.5
    assert {each.energy for each in box} == {1.0}
    for text in (page.read_text(encoding='utf-8'), capsys.readouterr().out):
        assert '`eigen @ backbone.stage2`' in text
