"""Every panel in a file of its own: names, pixels, what is never overwritten."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from featmap.errors import DrawError, OptionError, OutputError
from featmap.matching import match
from featmap.results import Result
from featmap.singles import file_part
from featmap.sinks import save_images
from featmap.structures import Classification, Detections, GroundTruth
from featmap.visualizer import FeatMapVisualizer
from tests.conftest import CHECKPOINT, CONFIG, IMAGE, files_under
from tests.visualizer_helpers import RAMP, colors, cut, feature_map, photo

PICTURE = photo(32, 32)
BOX = Detections(np.array([[4, 4, 20, 28]], np.float32), np.array([0.9]), np.array([0]), ('cat',))
TRUTH = GroundTruth(BOX.boxes, BOX.labels, np.zeros(1, bool), np.zeros(1, bool))


def result(maps, name='dog.jpg', location='', image=PICTURE, found=BOX, matched=None, **options) -> Result:
    visualizer = FeatMapVisualizer(**options)
    draw = partial(visualizer.draw_panels, image, maps, found, None, matched)
    return Result(
        name, (visualizer.draw_maps(image, maps, found),), tuple(maps), found, image, location, draw_panels=draw
    )


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]


def test_files_hold_the_panels_of_the_picture(tmp_path):
    maps = [feature_map(RAMP, layer='backbone.stage4', pca=colors()), feature_map(RAMP, path='[0]', pca=colors())]
    made = result(maps, panels=('grey', 'overlay', 'pca'), labels=False)
    files = made.save_split(tmp_path / 'new')
    expected = ['original']
    for layer in ('backbone.stage4', 'neck.0'):
        expected += [f'{layer}.grey', f'{layer}.overlay', f'{layer}.pca']
    assert [file.name for file in files] == [*(f'dog.{name}.png' for name in expected), 'dog.panels.json']
    for number, file in enumerate(files[:-1]):
        np.testing.assert_array_equal(read(file), cut(made.rendering, number))


def test_the_document_says_what_each_shows(tmp_path):
    planes = np.stack([np.array(RAMP, np.float32), 9 - np.array(RAMP, np.float32)])
    made = result([feature_map(planes, channels=(7, 5), reducer='topk')])
    entries = json.loads((made.save_split(tmp_path)[-1]).read_text(encoding='utf-8'))['panels']
    assert [entry['file'] for entry in entries] == [
        'dog.original.png', 'dog.neck.channel07.overlay.png', 'dog.neck.channel05.overlay.png',
    ]  # fmt: skip
    assert entries[0] == {'file': 'dog.original.png', 'label': '1 detection'}
    told = {key: entries[2][key] for key in ('layer', 'panel', 'channel', 'low', 'high')}
    assert told == {'layer': 'neck', 'panel': 'overlay', 'channel': 5, 'low': 6.0, 'high': 9.0}
    assert 'channel 5' in entries[2]['label']


def test_planes_and_concepts_are_told_apart(tmp_path):
    planes = np.stack([np.array(RAMP, np.float32)] * 11)
    names = list(result([feature_map(planes)]).panels())
    assert names[1:3] == ['neck.plane01.overlay', 'neck.plane02.overlay']
    assert names[-1] == 'neck.plane11.overlay'
    concepts = feature_map(planes[:2], kind='concepts', names=('a', 'b'), pca=colors())
    singles = result([concepts], panels=('grey', 'heat', 'pca')).panels()
    assert list(singles[1:]) == [
        'neck.plane1.grey', 'neck.plane1.heat', 'neck.plane2.grey', 'neck.plane2.heat', 'neck.all.heat', 'neck.pca',
    ]  # fmt: skip
    drawn = list(singles.draw())
    assert [single.name for single in drawn] == list(singles)
    assert [single.about.get('panel') for single in drawn[1:]] == ['grey', 'heat', 'grey', 'heat', 'heat', 'pca']


@pytest.mark.parametrize(
    ('kind', 'panels'),
    [
        ('heat', ()),
        ('heat', ('pca', 'grey')),
        ('image', ('heat',)),
        ('segments', ('overlay', 'heat')),
        ('concepts', ()),
    ],
)
def test_names_are_in_the_order_of_drawing(kind, panels):
    item = {
        'heat': feature_map(np.stack([RAMP, RAMP]), pca=colors()),
        'image': colors(),
        'segments': feature_map(np.zeros((4, 4)), kind='segments', reducer='kmeans'),
        'concepts': feature_map(np.stack([RAMP, RAMP]), kind='concepts', names=('a', 'b')),
    }[kind]
    singles = result([item], panels=panels).panels()
    columns = [single.about['panel'] for single in singles.draw() if 'panel' in single.about]
    assert [name.rpartition('.')[2] for name in singles[1:]] == columns


@pytest.mark.parametrize(
    ('layer', 'part'),
    [
        ('neck[0]', 'neck.0'),
        ('bbox_head.cls_convs.0#2[1]', 'bbox_head.cls_convs.0.call2.1'),
        ('a/b\\c:d*?', 'a_b_c_d_'),
        ('../../etc', '_._etc'),
        ('..', '_'),
        ('头部', '头部'),
    ],
)
def test_names_are_safe_in_a_file_system(layer, part):
    assert file_part(layer) == part
    assert len(file_part('x' * 500)) == 120
    assert file_part('x' * 500) != file_part('x' * 501)


def test_names_that_meet_are_numbered(tmp_path):
    maps = [feature_map(RAMP, layer=name) for name in ('neck[0]', 'neck.0', 'NECK.0')]
    files = result(maps).save_split(tmp_path)
    assert [file.name for file in files[1:-1]] == [
        'dog.neck.0.overlay.png', 'dog.neck.0.overlay_2.png', 'dog.NECK.0.overlay_3.png',
    ]  # fmt: skip


def test_ground_truth_has_its_file(tmp_path):
    names = list(result([feature_map(RAMP)], matched=match(BOX, TRUTH)).panels())
    assert names == ['original', 'truth', 'neck.overlay']


def test_formats_and_quality(tmp_path):
    made = result([feature_map(RAMP)], image=photo(32, 32))
    good, bad = (made.save_split(tmp_path / str(quality), 'jpg', quality) for quality in (95, 10))
    assert [file.suffix for file in good] == ['.jpg', '.jpg', '.json']
    assert good[0].stat().st_size > bad[0].stat().st_size
    with pytest.raises(OutputError, match='suffix'):
        made.save_split(tmp_path, 'pdf')


def test_nothing_is_written_where_an_input_would_be_lost(tmp_path):
    image = tmp_path / 'dog.original.png'
    image.write_bytes(b'precious')
    made = result([feature_map(RAMP)], location=str(image), name='dog.jpg')
    with pytest.raises(OutputError, match='would overwrite the image that it shows'):
        made.save_split(tmp_path)
    assert files_under(tmp_path) == ['dog.original.png']
    assert image.read_bytes() == b'precious'
    other = tmp_path / 'other.neck.overlay.png'
    with pytest.raises(OutputError, match='would overwrite a file of this run'):
        made.save_panels(tmp_path / 'other.original.png', taken={other.resolve()})
    assert files_under(tmp_path) == ['dog.original.png']


def test_many_planes_have_the_size_of_those_on_pages():
    image = photo(400, 800)
    many = feature_map(np.random.default_rng(0).normal(size=(33, 4, 8)), geometry=colors().geometry.whole((400, 800)))
    singles = FeatMapVisualizer().draw_panels(image, [many])
    shapes = [single.image.shape[:2] for single in singles.draw()]
    assert shapes == [(400, 800)] + [(160, 320)] * 33
    full = FeatMapVisualizer(panel_size='full').draw_panels(image, [many])
    assert {single.image.shape[:2] for single in full.draw()} == {(400, 800)}


def test_what_cannot_be_drawn_is_said_before_a_file_is_written(tmp_path):
    made = result([feature_map(RAMP)])
    lacking = Result('a.png', (), made.maps, None, PICTURE, draw_panels=partial(
        FeatMapVisualizer(panels=('pca',)).draw_panels, PICTURE, made.maps
    ))  # fmt: skip
    with pytest.raises(DrawError, match='holds no components'):
        lacking.save_split(tmp_path / 'new')
    with pytest.raises(OptionError, match='draws no single panels'):
        Result('a.png', (), made.maps, None, PICTURE).save_split(tmp_path / 'new')
    assert files_under(tmp_path) == []


def test_an_error_among_many_images_ends_the_writing(tmp_path):
    drawn = []

    def images():
        for number in range(100):
            drawn.append(number)
            yield PICTURE if number != 5 else PICTURE[..., 0].astype(float), tmp_path / f'{number}.png'

    with pytest.raises(OutputError, match=r'5\.png.*expected an image of uint8'):
        save_images(images())
    assert len(drawn) < 12
    np.testing.assert_array_equal(read(tmp_path / '0.png'), PICTURE)


def test_quick_files_hold_the_same_pixels(tmp_path):
    paths = save_images((photo(20, 30, seed=number), tmp_path / f'{number}.png') for number in range(20))
    assert [path.name for path in paths] == [f'{number}.png' for number in range(20)]
    for number, path in enumerate(paths):
        np.testing.assert_array_equal(read(path), photo(20, 30, seed=number))


def test_the_command_splits(run, tmp_path):
    given = (IMAGE, CONFIG, CHECKPOINT, '--target-layers', 'neck[2]', '--no-boxes', '--device', 'cpu', '--split')
    done = run(*given, '--panels', 'heat', 'pca', '--out-dir', 'out')
    assert done.status == 0, done.err
    names = ['demo.neck.2.heat.png', 'demo.neck.2.pca.png', 'demo.original.png', 'demo.panels.json']
    assert files_under(tmp_path / 'out') == names
    assert sorted(Path(line).name for line in done.out.splitlines()) == names
    assert run(*given, '--out-file', 'x/a.jpg').status == 0
    assert files_under(tmp_path / 'x') == ['a.neck.2.overlay.jpg', 'a.original.jpg', 'a.panels.json']


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (('--out-file', '-'), '--split makes several files'),
        (('--colorbar',), '--colorbar has no effect with --split: single panels are bare'),
        (('--out-file', 'a.pdf'), "'a.pdf' has the suffix"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(run, options, said):
    done = run(IMAGE, CONFIG, CHECKPOINT, '--split', *options)
    assert done.status == 2
    assert said in done.error


def test_the_command_keeps_inputs_and_other_images_files(run, tmp_path):
    small = photo(24, 32)
    for name in ('dog.png', 'dog.original.png'):
        cv2.imwrite(str(tmp_path / name), small)
    done = run(
        'dog.png', CONFIG, CHECKPOINT, '--target-layers', 'neck[2]', '--split', '--out-dir', '.', '--device', 'cpu'
    )
    assert done.status == 0  # what lies there and is no input is replaced, as any result is
    done = run('dog.png', 'dog.original.png', CONFIG, CHECKPOINT, '--split', '--out-dir', '.')
    assert done.status == 2
    assert 'would overwrite an input image' in done.error


def test_a_classifier_s_answer_stands_in_the_document(tmp_path):
    best = Classification(np.array([1, 0]), np.array([0.75, 0.25], np.float32))
    found = Detections(classes=('cat', 'dog'), kind='', classification=best)
    document = result([feature_map(RAMP)], found=found).save_split(tmp_path)[-1]
    original = json.loads(document.read_text(encoding='utf-8'))['panels'][0]
    assert original['classification'] == {'dog': 0.75, 'cat': 0.25}
