"""Options of the command and the same options in a config: what they change in the picture, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from featmap.cli import parse_args
from featmap.errors import OptionError
from featmap.inferencer import FeatMapInferencer
from tests.conftest import CHECKPOINT, CONFIG, files_under
from tests.font_helpers import CJK, system_fonts  # noqa: F401

ARGS = ('photo.png', CONFIG, CHECKPOINT, '--target-layers', 'neck', '--no-boxes')


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def in_python(photo, **options):
    """The result of the Python interface, which other tests look into."""
    return FeatMapInferencer(CONFIG, CHECKPOINT, device='cpu', target_layers=['neck'], boxes=False, **options)(photo)


@pytest.fixture
def draw(run, photo):
    """Draw the photo with options and return the pixels of its picture."""

    def call(*options: object, config=CONFIG) -> np.ndarray:
        args = [config if arg is CONFIG else arg for arg in ARGS]
        done = run(*args, *options, '--out-file', 'drawn.png')
        assert (done.status, done.out) == (0, 'drawn.png\n'), done.err
        return pixels('drawn.png')

    return call


@pytest.fixture(scope='module')
def kept():
    """Pictures that more than one test compares with."""
    return {}


SERIF = str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSerif.ttf'))
OPTIONS = [
    (['--norm', 'layer'], {'norm': 'layer'}, ['(layer)']),
    (['--norm', 'run'], {'norm': 'run'}, ['(run)']),
    (['--norm', '0,2.5'], {'norm': (0, 2.5)}, ['0 … 2.5 (fixed)']),
    (['--norm=-1,1'], {'norm': '-1,1'}, ['-1 … 1 (fixed)']),
    (['--norm', 'p2,p98'], {'norm': ('p2', 'p98')}, ['(p2–p98)']),
    (['--symmetric'], {'symmetric': True}, ['· -']),
    (['--colorbar'], {'colorbar': True}, []),
    (['--channels', '3', '17', '40-42'], {'channels': [3, 17, '40-42']}, ['channel 3 ·', 'channel 17 ·', 'channel 42']),
    (['--channels', '5', '--channel-reduction', 'channels'], {'channels': 5}, ['channel 5 ·']),
    (
        ['--channel-reduction', 'pca', '--components', '2'],
        {'channel_reduction': {'type': 'pca'}, 'components': 2},
        ['component 1,', 'component 2,'],
    ),
    (['--channel-reduction', 'pca'], {'channel_reduction': 'pca'}, ['of variance']),
    (
        ['--channel-reduction', 'nmf', '--components', '3'],
        {'channel_reduction': {'type': 'nmf', 'k': 3}},
        ['concept 3,'],
    ),
    (
        ['--channel-reduction', 'kmeans', '--components', '3'],
        {'channel_reduction': {'type': 'kmeans', 'k': 3}},
        ['3 se'],
    ),
    (['--channel-reduction', 'eigen'], {'channel_reduction': 'eigen'}, ['eigen']),
    (
        ['--channel-reduction', 'None', '--topk', '2', '--abs'],
        {'channel_reduction': None, 'topk': 2, 'abs': True},
        ['channel '],
    ),
    (['--amp'], {'amp': True}, []),
    (['--background', 'grey'], {'background': 'grey'}, []),
    (['--font', SERIF], {'font': SERIF}, []),
    (
        ['--crop', '50,5,90,35', '--interpolation', 'nearest', '--grid', '--panel-size', '400'],
        {'crop': [50, 5, 90, 35], 'interpolation': 'nearest', 'grid': True, 'panel_size': 400},
        ['crop 50,5 – 90,35, ×10', 'px of the image'],
    ),
]


@pytest.mark.parametrize(('options', 'settings', 'said'), OPTIONS, ids=[' '.join(item[0]) for item in OPTIONS])
def test_an_option_and_its_setting_draw_the_same_picture(draw, tmp_path, photo, kept, options, settings, said):
    drawn = draw(*options)
    result = in_python(photo, **settings)
    np.testing.assert_array_equal(drawn, result.image)
    labels = [panel.label for panel in result.rendering.panels]
    for part in said:
        assert any(part in label for label in labels), labels
    if 'plain' not in kept:
        kept['plain'] = draw()
    assert drawn.shape != kept['plain'].shape or (drawn != kept['plain']).any()
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {str(CONFIG)!r}\nfeatmap = {settings!r}\n')
    np.testing.assert_array_equal(draw(config=config), drawn)


def test_the_command_line_wins_over_the_config(draw, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(CONFIG)!r}\n'
        "featmap = dict(channel_reduction='pca', components=2, norm='layer', alpha=0.9, channels=[3])\n"
    )
    options = ('--channel-reduction', 'l2', '--norm', '0,3', '--alpha', '0.25')
    np.testing.assert_array_equal(draw(*options, config=config), draw(*options))


def test_a_figure_takes_its_options(run, photo, tmp_path):
    done = run(
        *ARGS, '--figure', tmp_path / 'f.svg', '--out-file', tmp_path / 'p.png', '--figure-title', 'A title', '--dpi',
        '60', '--figure-style', 'dark_background', '--font-size', '9', '--columns', '1', '--figure-width', '3.5'
    )  # fmt: skip
    assert done.status == 0, done.err
    text = (tmp_path / 'f.svg').read_text()
    assert 'A title' in text
    assert 'font: 9px' in text or 'font-size: 9px' in text
    assert 'width="252pt"' in text
    options = {'title': 'A title', 'dpi': 60, 'style': 'dark_background', 'font_size': 9, 'columns': 1, 'width': 3.5}
    in_python(photo).figure(**options).savefig(tmp_path / 'own.svg', metadata={'Date': None})
    assert (tmp_path / 'own.svg').read_text().count('<image') == text.count('<image') > 2


def test_ranking_by_magnitude_can_choose_other_channels(run, photo):
    """A layer before its activation: negative answers are as large as positive ones."""
    names = ('backbone.stage4.1.main_conv.bn', 'backbone.stage3.0.bn', 'backbone.stage2.0.bn')
    chosen = []
    for by_magnitude in (False, True):
        vis = FeatMapInferencer(
            CONFIG, CHECKPOINT, device='cpu', target_layers=names, boxes=False, abs=by_magnitude, keep_features=True
        )
        maps = vis(photo).maps
        for item in maps:
            rows, columns = item.geometry.content_cells(item.shape[1:], item.stride)
            values = item.features[:, rows, columns].astype(np.float64)
            sums = (np.abs(values) if by_magnitude else values).sum((1, 2))
            assert item.channels == (int(sums.argmax()),)
        chosen.append([item.channels for item in maps])
    assert chosen[0] != chosen[1]
    args = ('photo.png', CONFIG, CHECKPOINT, '--no-boxes', '--target-layers', *names)
    assert run(*args, '--out-file', 'a.png').status == run(*args, '--abs', '--out-file', 'b.png').status == 0
    assert not np.array_equal(pixels('a.png'), pixels('b.png'))


# --- a basis in a file


def test_a_basis_is_saved_and_used_again(run, photo, tmp_path):
    other = np.asarray(Image.open(photo)).copy()
    other[30:60, 5:30] = (200, 30, 90)
    (tmp_path / 'in').mkdir()
    photo.rename(tmp_path / 'in' / 'photo.png')
    Image.fromarray(other).save(tmp_path / 'in' / 'other.png')
    # Without labels, which name the basis.
    common = (CONFIG, CHECKPOINT, '--target-layers', 'neck', '--no-boxes', '--no-labels', '--channel-reduction', 'pca')
    done = run('in', *common, '--out-dir', 'both', '--save-basis', 'bases/run.npz')
    assert done.status == 0, done.err
    assert files_under(tmp_path / 'bases') == ['run.npz']
    assert files_under(tmp_path / 'both') == ['other.png', 'photo.png']
    for name in ('photo', 'other'):
        assert run(f'in/{name}.png', *common, '--basis', 'bases/run.npz', '--out-file', 'again.png').status == 0
        np.testing.assert_array_equal(pixels('again.png'), pixels(f'both/{name}.png'))
        assert run(f'in/{name}.png', *common, '--out-file', 'alone.png').status == 0
        assert (pixels('alone.png') != pixels(f'both/{name}.png')).any()
    with np.load(tmp_path / 'bases' / 'run.npz') as data:
        assert {name: data[f'directions_{name}'].shape for name in (64, 128, 256)} == {
            64: (64, 3), 128: (128, 3), 256: (256, 3)}  # fmt: skip


def test_a_basis_that_does_not_fit_or_is_none(run, photo, tmp_path):
    common = (CONFIG, CHECKPOINT, '--no-boxes', '--channel-reduction', 'pca', '--target-layers')
    assert run('photo.png', *common, 'neck[0]', '--save-basis', 'one.npz').status == 0
    done = run('photo.png', *common, 'neck[1]', '--basis', 'one.npz')
    assert (done.status, done.error) == (
        2, 'featmap: error: neck[1]: the basis is for maps of 64 channels, got one of 128')  # fmt: skip
    (tmp_path / 'text.npz').write_text('no basis')
    for name in ('text.npz', 'nowhere.npz', 'photo.png'):
        done = run('photo.png', *common, 'neck', '--basis', name)
        assert done.status == 2
        assert f'{name!r} holds no basis' in done.error
        assert '--save-basis' in done.error


@pytest.mark.parametrize('reduction', [['--channel-reduction', 'l2'], []])
def test_only_pca_has_a_basis_to_save(run, photo, reduction, tmp_path):
    done = run(*ARGS, *reduction, '--save-basis', 'basis.npz')
    assert done.status == 2
    assert '--save-basis goes with --channel-reduction pca' in done.error
    assert files_under(tmp_path) == ['photo.png']


def test_a_basis_is_saved_as_npz_only(run, photo):
    done = run(*ARGS, '--channel-reduction', 'pca', '--save-basis', 'basis.txt')
    assert done.status == 2
    assert '--save-basis basis.txt: expected a name that ends in .npz' in done.error


# --- several images, one of them bad


@pytest.mark.parametrize('options', [['--norm', 'run'], ['--channel-reduction', 'pca']])
def test_a_bad_image_does_not_keep_the_others_from_sharing(run, photo, tmp_path, options):
    (tmp_path / 'in').mkdir()
    photo.rename(tmp_path / 'in' / 'photo.png')
    light = np.full((64, 96, 3), 90, np.uint8)
    light[5:20, 10:50] = (10, 200, 100)
    Image.fromarray(light).save(tmp_path / 'in' / 'z.png')
    common = (CONFIG, CHECKPOINT, '--target-layers', 'neck', '--no-boxes', *options)
    assert run('in', *common, '--out-dir', 'good').status == 0
    (tmp_path / 'in' / 'bad.png').write_bytes(b'no image')
    done = run('in', *common, '--out-dir', 'some')
    assert done.status == 1
    assert '1 of 3 images failed: ' in done.err
    assert files_under(tmp_path / 'some') == ['photo.png', 'z.png']
    for name in ('photo.png', 'z.png'):
        np.testing.assert_array_equal(pixels(f'some/{name}'), pixels(f'good/{name}'))


@pytest.mark.parametrize('suffix', ['jpg', 'webp'])
def test_pictures_of_a_folder_in_another_format(run, photo, suffix):
    name = f'photo.{suffix}'
    sizes = []
    for quality in ('30', '95'):
        done = run(*ARGS, '--format', suffix, '--quality', quality, '--out-dir', quality)
        assert (done.status, done.out) == (0, f'{quality}/{name}\n')
        with Image.open(f'{quality}/{name}') as image:
            assert image.format == {'webp': 'WEBP', 'jpg': 'JPEG'}[suffix]
        sizes.append(Path(quality, name).stat().st_size)
    assert sizes[0] < sizes[1]
    alone = f'alone.{suffix}'
    assert run(*ARGS, '--out-file', alone, '--quality', '30').status == 0
    assert Path(alone).read_bytes() == Path('30', name).read_bytes()


# --- what is refused before a model is loaded


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--components', '3', '--channel-reduction', 'squeeze_mean'],
         '--components goes with --channel-reduction pca or nmf or kmeans, got squeeze_mean'),
        (['--channels', '3', '--channel-reduction', 'l2'],
         '--channels goes with --channel-reduction channels, got l2'),
        (['--channels', '3', '--components', '2'],
         '--components goes with --channel-reduction pca or nmf or kmeans, got channels'),
        (
            ['--basis', 'b.npz', '--channel-reduction', 'nmf'],
            '--basis goes with --channel-reduction pca or --panels pca, got nmf',
        ),
        (['--abs', '--channel-reduction', 'std'],
         '--abs goes with --channel-reduction None or topk or select_max, got std'),
        (['--topk', '3', '--channel-reduction', 'eigen'], '--topk goes with --channel-reduction None or topk, got eig'),
        (['--dpi', '300'], '--dpi goes with --figure'),
        (['--figure-width', '3'], '--figure-width goes with --figure'),
        (['--figure-title', 'T'], '--figure-title goes with --figure'),
        (['--figure-style', 'ggplot'], '--figure-style goes with --figure'),
        (['--font-size', '8'], '--font-size goes with --figure'),
        (['--figure', 'f.pdf', '--font-size', '4'], 'expected a number from 5 to 24'),
        (['--columns', '2'], '--columns goes with --figure'),
        (['--figure', 'f.pdf', '--columns', '0'], 'expected 1 or more'),
        (['--figure', 'f.pdf', '--figure-style', 'ggplo'], '--figure-style ggplo is no style of matplotlib and no'),
        (['--out-file', 'f.pdf'], '.bmp .tif .tiff; a figure is written by --figure'),
        (['--norm', 'maps'], '--norm maps: expected map, layer, image, run'),
        (['--norm', '1,0'], '--norm 1,0: expected the lower end first'),
        (['--norm', '-1,1'], 'a negative lower end takes an equals sign: --norm=-1,1'),
        (['--channels', '3-'], 'expected numbers and ranges, such as 3 17 40-47, names of classes, or all'),
        (['--crop', '5,5,5,9'], '--crop 5,5,5,9: expected X1,Y1,X2,Y2'),
        (['--crop', 'box:2'], '--crop box:2 needs detections, and has none with --no-boxes'),
        (['--panel-size', '5'], "--panel-size 5: expected the pixels of a panel's longer side"),
        (['--background', 'none', '--alpha', '0.7'], '--alpha has no effect with --background none'),
        (['--interpolation', 'cubic'], '--interpolation cubic: expected linear or nearest'),
        (['--format', 'jpg', '--out-file', 'a.jpg'], "--format is for folders: the name 'a.jpg' says the format"),
        (['--show', '--format', 'jpg'], '--format has no effect with --show, which alone writes no file'),
        (['--out-file', '-', '--out-dir', 'd'], '--out-file and --out-dir exclude each other'),
        (['--score-thr', '0'], '--score-thr has no effect with --no-boxes'),
        (['--preview-depth', '2'], '--preview-depth goes with --preview-model'),
        (['--preview-model', '--preview-depth', '0'], 'expected 1 or more, or all'),
        (['--preview-model'], '--no-boxes has no effect with --preview-model'),
        (['--quality', '80'], '--quality goes with --format jpg or webp'),
        (['--quality', '80', '--out-file', 'a.png'], '--quality goes with --format jpg or webp'),
        (['--quality', '0', '--format', 'jpg'], '--quality 0: expected a quality from 1 to 100'),
        (['--components', '0', '--channel-reduction', 'pca'], '--components 0: expected 1 or more'),
        (['--components', 'x', '--channel-reduction', 'pca'], '--components x: expected 1 or more'),
    ],
)  # fmt: skip
def test_refused_at_once(run, photo, options, message, monkeypatch):
    monkeypatch.setitem(sys.modules, 'featmap.inferencer', None)  # what is needed to load a model
    done = run(*ARGS, *options)
    assert done.status == 2
    assert message in done.error


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--font', CONFIG], 'cannot be read'),
        (['--font', 'nowhere.ttf'], "the font 'nowhere.ttf' cannot be read"),
        (['--channels', '0', '64'], 'a map of 64 channels has no channel 64: expected 0 to 63'),
        (['--channel-reduction', 'pcaa'], "no reducer is called 'pcaa'; nearest: pca"),
    ],
)
def test_refused_by_the_layer_or_the_reducers(run, photo, options, message):
    done = run(*ARGS, *options)
    assert done.status == 2
    assert message in done.error


@pytest.mark.parametrize('options', [['--components', '3'], ['--basis', 'b.npz'], ['--topk', '3']])
def test_an_option_is_refused_where_neither_line_nor_config_chooses_its_reducer(run, photo, options):
    done = run(*ARGS, *options)
    assert done.status == 2
    assert f'{options[0]} goes with --channel-reduction' in done.error
    assert 'select_max' in done.error


@pytest.mark.parametrize(('name', 'module'), [('nmf', 'sklearn.decomposition'), ('kmeans', 'sklearn.cluster')])
def test_without_scikit_learn_the_command_says_how_to_install_it(run, photo, name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    done = run(*ARGS, '--channel-reduction', name)
    assert (done.status, done.error) == (
        2, f'featmap: error: the reducer {name} needs scikit-learn: pip install scikit-learn')  # fmt: skip


# --- parsing alone


def options_of(*args: str) -> dict:
    run = parse_args(['img.png', 'config.py', 'none', *args])
    return {name: run[name] for name in run.given - {'image', 'config', 'checkpoint'}}


@pytest.mark.parametrize(
    ('args', 'expected'),
    [
        ([], {}),
        (['--norm', 'layer', '--symmetric', '--colorbar'], {'norm': 'layer', 'symmetric': True, 'colorbar': True}),
        (['--norm=-.5,.5'], {'norm': '-.5,.5'}),
        (['--channels', 'all'], {'channels': 'all', 'channel_reduction': 'channels'}),
        (['--channels', '1', '4-6'], {'channels': (1, 4, 5, 6), 'channel_reduction': 'channels'}),
        (['--components', '4', '--channel-reduction', 'nmf'], {'components': 4, 'channel_reduction': 'nmf'}),
        (['--amp', '--abs'], {'amp': True, 'abs': True}),
        (['--channel-reduction', 'none'], {'channel_reduction': None}),
        (['--no-boxes', '--no-labels'], {'boxes': False, 'labels': False}),
    ],
)
def test_only_what_was_given_is_an_option(args, expected):
    assert options_of(*args) == expected


def test_values_have_their_types():
    run = parse_args(['i', 'c', 'none', '--figure', 'f.pdf', '--dpi', '90', '--figure-width', '3.5'])
    assert (run.output.figure, run.output.dpi, run.output.figure_width) == ('f.pdf', 90, 3.5)


@pytest.mark.parametrize(
    'args',
    [
        ['a.png', 'b.png', 'c.py', 'none', '--norm', 'layer'],
        ['--norm', 'layer', 'a.png', 'b.png', 'c.py', 'none'],
        ['a.png', 'b.png', '--norm', 'layer', 'c.py', 'none'],
        ['--target-layers', 'neck', '--norm', 'layer', '--', 'a.png', 'b.png', 'c.py', 'none'],
    ],
)
def test_several_images_stand_before_the_config(args):
    inputs = parse_args(args).inputs
    assert (inputs.image, inputs.config, inputs.checkpoint) == (('a.png', 'b.png'), 'c.py', 'none')


@pytest.mark.parametrize(
    ('word', 'said'),
    [
        ('--target_layers', 'did you mean --target-layers?'),
        ('--out_file=x.png', 'did you mean --out-file?'),
        ('--colourmap', 'did you mean --colormap?'),
    ],
)
def test_a_misspelt_option_is_answered_with_the_right_one(run, word, said):
    done = run('i', 'c', 'none', word)
    assert done.status == 2
    assert said in done.error


def test_a_refusal_in_python_is_an_option_error():
    with pytest.raises(OptionError, match='basis goes with'):
        options_of('--basis', 'b.npz', '--channel-reduction', 'kmeans')


def test_a_name_that_no_font_draws_is_told_in_one_line(run, photo, system_fonts):  # noqa: F811
    system_fonts()
    Path('犬\n猫.png').write_bytes(Path('photo.png').read_bytes())
    done = run('犬\n猫.png', *ARGS[1:], '--out-file', 'drawn.png')
    assert done.status == 0, done.err
    (line,) = [line for line in done.err.splitlines() if 'no font' in line]
    assert line.startswith("featmap: no font on this machine draws '犬': install one")
    assert line.endswith('or choose a file with --font')
    system_fonts(CJK)
    assert 'no font' not in run('犬\n猫.png', *ARGS[1:], '--out-file', 'other.png').err
    assert (pixels('other.png') != pixels('drawn.png')).any()
    chosen = run('犬\n猫.png', *ARGS[1:], '--font', CJK, '--out-file', 'chosen.png')
    assert 'no font' not in chosen.err
