"""The command with the shipped detector: every option does what the README says."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT, SCRIPT, files_under

DETECTOR = (CONFIG, CHECKPOINT)


def picture(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def test_writes_one_picture_and_prints_its_path_last(run, tmp_path):
    done = run(IMAGE, *DETECTOR, '--target-layers', 'neck', '--out-file', 'sub dir/ärger.png')
    assert (done.status, done.out) == (0, 'sub dir/ärger.png\n')
    assert files_under(tmp_path) == ['sub dir/ärger.png']


def test_a_name_without_suffix_gets_png(run, tmp_path):
    done = run(IMAGE, *DETECTOR, '--out-file', 'featmap_backbone')
    assert (done.status, done.out) == (0, 'featmap_backbone.png\n')
    assert files_under(tmp_path) == ['featmap_backbone.png']


def test_without_an_output_option_the_picture_goes_to_output(run, tmp_path):
    done = run(IMAGE, *DETECTOR)
    assert done.out == 'output/demo.png\n'
    assert 'featmap: no --target-layers: drawing backbone\n' in done.err
    assert files_under(tmp_path) == ['output/demo.png']


@pytest.mark.parametrize(
    ('options', 'panels'),
    [
        (['--target-layers', 'backbone'], 1 + 3),
        (['--target-layers', 'neck'], 1 + 3),
        (['--target-layers', 'neck[1]'], 1 + 1),
        (['--target-layers', 'neck.out_layers[2]'], 1 + 1),
        (['--target-layers', 'neck.out_layers.2', 'backbone.stage4'], 1 + 2),
        (['--target-layers', 'backbone.stage*'], 1 + 4),
        (['--target-layers', 'neck', '--channel-reduction', 'None', '--topk', '5', '--arrangement', '2', '3'], 1 + 15),
        (['--target-layers', 'neck[0]', '--channel-reduction', 'None', '--topk', '3'], 1 + 3),
    ],
)
def test_n_maps_give_n_panels(options, panels):
    from featmap import FeatMapInferencer
    from featmap.cli import parse_args

    asked = parse_args([str(IMAGE), *map(str, DETECTOR), *options])
    result = FeatMapInferencer(*DETECTOR, run=asked)(IMAGE)
    assert len(result.rendering.panels) == panels
    height, width = picture(IMAGE).shape[:2]
    shapes = {(panel.height, panel.width) for panel in result.rendering.panels}
    assert len(shapes) == 1
    if panels < 10:  # very many are drawn smaller
        assert shapes == {(height, width)}


@pytest.mark.parametrize('spelling', [['2', '3'], ['2x3'], ['(2,3)']])
def test_spellings_of_an_arrangement_draw_the_same_picture(run, photo, spelling):
    common = ('--target-layers', 'neck[0]', '--channel-reduction', 'None', '--topk', '5')
    assert run(photo, *DETECTOR, *common, '--arrangement', *spelling, '--out-file', 'a.png').status == 0
    assert run(photo, *DETECTOR, *common, '--arrangement', '2', '3', '--out-file', 'b.png').status == 0
    assert np.array_equal(picture('a.png'), picture('b.png'))


def test_finds_the_objects_of_the_demo_image_and_draws_them(run):
    run(IMAGE, *DETECTOR, '--no-labels', '--out-file', 'with.png')
    run(IMAGE, *DETECTOR, '--no-labels', '--no-boxes', '--out-file', 'without.png')
    run(IMAGE, *DETECTOR, '--no-labels', '--score-thr', '1.0', '--out-file', 'none_that_sure.png')
    assert not np.array_equal(picture('with.png'), picture('without.png'))
    assert np.array_equal(picture('none_that_sure.png'), picture('without.png'))


def test_look_options(run, photo):
    def drawn(*options):
        common = ('--no-boxes', '--target-layers', 'neck[0]', '--out-file', 'x.png')
        assert run(photo, *DETECTOR, *common, *options).status == 0
        return picture('x.png')

    plain = drawn('--no-labels')
    assert drawn().shape[0] > plain.shape[0]
    bare = drawn('--no-labels', '--alpha', '0')
    original = picture(photo)
    height, width = original.shape[:2]
    gap = (bare.shape[1] - 2 * width) // 3
    assert np.array_equal(bare[gap : gap + height, -gap - width : -gap], original)
    assert not np.array_equal(drawn('--no-labels', '--colormap', 'viridis'), plain)


def test_a_folder_is_mirrored_and_equal_names_do_not_meet(run, photo, tmp_path):
    for name in ('in/a/dog.png', 'in/b/dog.png', 'in/b/dog.jpg', 'in/猫 1.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as image:
            image.save(tmp_path / name)
    done = run('in', *DETECTOR, '--out-dir', 'out')
    written = ['a/dog.png', 'b/dog.jpg.png', 'b/dog.png.png', '猫 1.png']
    assert done.status == 0
    assert files_under(tmp_path / 'out') == written
    assert sorted(done.out.splitlines()) == [f'out/{name}' for name in written]


def test_a_glob_and_a_second_run_over_the_same_folder(run, photo, tmp_path):
    with Image.open(photo) as image:
        image.save(tmp_path / 'other.jpg')
    assert run('*.jpg', *DETECTOR).out == 'output/other.png\n'
    assert sorted(run('.', *DETECTOR).out.splitlines()) == ['output/other.png', 'output/photo.png']
    assert sorted(run('.', *DETECTOR).out.splitlines()) == ['output/other.png', 'output/photo.png']


FORMATS = {
    'grey.png': lambda image: image.convert('L'),
    'deep.png': lambda image: Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257),
    'alpha.png': lambda image: image.convert('RGBA'),
    'palette.gif': lambda image: image.convert('P'),
    'print.jpg': lambda image: image.convert('CMYK'),
    'bits.png': lambda image: image.convert('1'),
}


@pytest.mark.parametrize('name', FORMATS)
def test_image_formats(run, photo, tmp_path, name):
    with Image.open(photo) as image:
        FORMATS[name](image).save(tmp_path / name)
    assert run(name, *DETECTOR, '--out-file', 'drawn.png').status == 0


def test_exif_rotation_is_applied_once(run, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate 90 degrees clockwise to display
    with Image.open(photo) as image:
        image.save(tmp_path / 'turned.jpg', exif=exif, quality=95)
        upright = np.asarray(image.rotate(-90, expand=True).convert('RGB'))
    assert run('turned.jpg', *DETECTOR, '--no-labels', '--no-boxes', '--out-file', 'drawn.png').status == 0
    gap = 2
    first = picture('drawn.png')[gap : gap + upright.shape[0], gap : gap + upright.shape[1]]
    assert np.abs(first.astype(int) - upright).mean() < 3


def test_preview_lists_layers_with_names_to_pass(run):
    done = run(IMAGE, *DETECTOR, '--preview-model')
    assert done.status == 0
    rows = {line.removeprefix('●').split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert '×' in rows['neck.out_layers.2']
    assert rows['neck.out_layers'].split()[-1] == 'never'
    assert 'bbox_head.head_module.convs_pred.0' not in rows
    assert len(rows) < 60
    assert done.out.splitlines()[-1].startswith('46 of 287 layers; --preview-depth all or --target-layers ')
    assert '--target-layers: drawing' not in done.err
    whole = run(IMAGE, *DETECTOR, '--preview-model', '--preview-depth', 'all')
    assert 'bbox_head.head_module.convs_pred.0' in whole.out
    assert len(whole.out.splitlines()) == 1 + 287 + 1


def test_tells_that_weights_are_random(run, photo):
    done = run(photo, CONFIG, 'none', '--out-file', 'x.png')
    assert done.status == 0
    assert 'random' in done.err


def test_options_in_the_config_and_the_command_line_wins(run, photo, tmp_path):
    (tmp_path / 'mine.py').write_text(
        f'_base_ = {str(CONFIG)!r}\n'
        "featmap = dict(target_layers=['neck[0]'], channel_reduction='squeeze_mean', boxes=False,\n"
        "    visualizer=dict(type='FeatMapVisualizer', labels=False))\n"
    )
    assert run(photo, 'mine.py', CHECKPOINT, '--out-file', 'a.png').status == 0
    flags = ('--target-layers', 'neck[0]', '--channel-reduction', 'squeeze_mean', '--no-boxes', '--no-labels')
    assert run(photo, CONFIG, CHECKPOINT, *flags, '--out-file', 'b.png').status == 0
    assert np.array_equal(picture('a.png'), picture('b.png'))
    assert run(photo, 'mine.py', CHECKPOINT, '--target-layers', 'neck', '--out-file', 'c.png').status == 0
    assert picture('c.png').shape != picture('a.png').shape


def test_cfg_options_reach_the_model(run, photo):
    done = run(photo, CONFIG, 'none', '--preview-model', '--target-layers', 'neck',
               '--cfg-options', 'model.backbone.widen_factor=0.5', 'model.neck.widen_factor=0.5',
               'model.bbox_head.head_module.widen_factor=0.5')  # fmt: skip
    assert done.status == 0
    assert ' 128×' in done.out.splitlines()[1]  # 64 channels at the shipped width of 0.25


def test_a_reducer_of_the_users_own(run, photo, tmp_path, monkeypatch):
    from featmap.registry import REDUCERS

    monkeypatch.setattr(REDUCERS, '_module_dict', dict(REDUCERS._module_dict))
    (tmp_path / 'reducers_of_mine.py').write_text(
        'from featmap import REDUCERS\n\n'
        "@REDUCERS.register_module('loudest')\n"
        'class Loudest:\n'
        '    def __call__(self, features, weights):\n'
        '        return features.abs().amax(0)\n'
    )
    done = run(photo, *DETECTOR, '--channel-reduction', 'loudest', '--cfg-options', 'custom_imports=reducers_of_mine',
               '--out-file', 'x.png')  # fmt: skip
    monkeypatch.delitem(sys.modules, 'reducers_of_mine')
    assert done.status == 0, done.err


def test_garbage_is_collected_again_once_all_is_loaded(run, run_script, photo, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    (tmp_path / 'telling.py').write_text(
        'import gc\n'
        'from featmap.registry import REDUCERS\n'
        "open('loading.txt', 'w').write(str(gc.isenabled()))\n"
        "@REDUCERS.register_module('telling', force=True)\n"
        'def telling(features, weights):\n'
        "    open('drawing.txt', 'w').write(f'{gc.isenabled()} {gc.get_freeze_count() > 0}')\n"
        '    return features[0]\n'
    )
    options = ('--channel-reduction', 'telling', '--cfg-options', 'custom_imports=telling', '--out-file', 'x.png')
    done = run_script(photo, *DETECTOR, *options)
    assert done.status == 0, done.err
    assert (tmp_path / 'loading.txt').read_text() == 'False'
    assert (tmp_path / 'drawing.txt').read_text() == 'True True'
    # A program that calls the command keeps its own ways.
    frozen = gc.get_freeze_count()
    assert run(photo, *DETECTOR, '--out-file', 'y.png').status == 0
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, frozen)


@pytest.mark.parametrize('name', ['triton', 'another'])
def test_nothing_is_frozen_at_exit_where_bindings_tell_of_it(name, run_script, photo, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{ROOT}')
    (tmp_path / 'leaving.py').write_text(
        'import atexit, gc, sys, types\n'
        f"sys.modules['{name}'] = types.ModuleType('{name}')\n"
        "atexit.register(lambda: open('exit.txt', 'w').write(str(gc.get_freeze_count() > 0)))\n"
    )
    done = run_script(photo, *DETECTOR, '--cfg-options', 'custom_imports=leaving', '--out-file', 'x.png')
    assert done.status == 0, done.err
    assert (tmp_path / 'exit.txt').read_text() == str(name != 'triton')


def test_vis_backends_are_written(run, photo, tmp_path):
    done = run(photo, *DETECTOR, '--vis-backends', 'LocalVisBackend', '--out-dir', 'out')
    assert done.status == 0
    written = files_under(tmp_path / 'out')
    assert 'photo.png' in written
    local = [name for name in written if 'vis_image' in name]
    assert len(local) == 1
    assert f'files do so in {os.path.join("out", "vis_data")}' in done.err.replace('\n', ' ')
    assert np.array_equal(picture(tmp_path / 'out' / local[0]), picture(tmp_path / 'out' / 'photo.png'))


def test_help_is_quick_and_complete(run_script):
    shown = run_script('--help')
    assert shown.status == 0
    for option in ('--target-layers', '--channel-reduction', '--topk', '--arrangement', '--out-file', '--out-dir',
                   '--show', '--preview-model', '--device', '--score-thr', '--no-boxes', '--alpha', '--colormap',
                   '--no-labels', '--cfg-options', '--vis-backends', '--trust-checkpoint', '--debug'):  # fmt: skip
        assert option in shown.out
    imported = subprocess.run(
        [sys.executable, '-X', 'importtime', str(SCRIPT), '--help'], capture_output=True, text=True, check=True
    ).stderr
    loaded = {line.rpartition('|')[2].strip() for line in imported.splitlines()}
    assert loaded & {'torch', 'numpy', 'mmengine', 'cv2', 'PIL', 'rich'} == set()


def test_the_package_is_a_command_too():
    shown = subprocess.run([sys.executable, '-m', 'featmap'], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 2
    assert shown.stderr.startswith('python -m featmap: error: the following arguments are required: IMG')


def test_interrupted_run_keeps_finished_pictures_and_leaves_nothing_half_written(photo, tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    pixels = picture(IMAGE)
    for number in range(200):
        cv2.imwrite(str(folder / f'{number}.jpg'), pixels)
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *map(str, DETECTOR), '--out-dir', str(tmp_path / 'out')],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
        # A shell has what it runs in the background ignore the signal, and processes hand that on.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    first = process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert 'Traceback' not in err
    printed = {line for line in (first + rest).splitlines() if line}
    written = {str(tmp_path / 'out' / name) for name in files_under(tmp_path / 'out')}
    assert printed <= written
    assert 0 < len(written) < 200
    assert len(written - printed) <= 1  # the interrupt may fall between the write and the print
    for name in written:
        picture(name)


def test_make_demo_prints_the_command_as_a_user_would_type_it():
    shown = subprocess.run(['make', '-n', 'demo'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 'demo/featmap_vis_demo.py demo/demo.jpg configs/demo/yolov5_n_demo.py demo/yolov5_n_demo.pth' in shown


def test_pages_of_a_large_layer_are_written_and_printed(run, photo, tmp_path):
    done = run(photo, *DETECTOR, '--channels', 'all', '--target-layers', 'neck[1]', '--no-boxes', '--out-file', 'p.png')
    assert done.out.splitlines() == ['p.png', 'p.page2.png']  # 128 channels
    assert files_under(tmp_path) == ['p.page2.png', 'p.png', 'photo.png']


def test_pages_never_overwrite_an_input(run, photo, tmp_path):
    photo.rename(tmp_path / 'p.page2.png')
    before = (tmp_path / 'p.page2.png').read_bytes()
    done = run('p.page2.png', *DETECTOR, '--channels', 'all', '--target-layers', 'neck[1]', '--out-file', 'p.png')
    assert done.status == 2
    assert 'p.page2.png' in done.error
    assert (tmp_path / 'p.page2.png').read_bytes() == before
    assert files_under(tmp_path) == ['p.page2.png']


def test_an_image_can_come_through_a_pipe(run, photo, tmp_path):
    pipe = tmp_path / 'pipe.png'
    os.mkfifo(pipe)
    writer = subprocess.Popen(['cp', str(photo), str(pipe)])
    try:
        assert run(pipe, *DETECTOR, '--out-file', 'x.png').status == 0
    finally:
        writer.kill()
        writer.wait()


def test_saved_maps_are_drawn_again_without_the_model(run, photo):
    import featmap

    options = ('--target-layers', 'neck', '--norm', 'run', '--save-maps', 'maps.npz', '--out-file', 'x.png')
    done = run(photo, *DETECTOR, *options)
    assert done.out.splitlines() == ['maps.npz', 'x.png']
    assert np.array_equal(featmap.load_maps('maps.npz').draw().image, picture('x.png'))


def test_extra_files_of_several_images_are_mirrored_in_a_folder(run, photo, tmp_path):
    for name in ('in/a/dog.png', 'in/dog.png'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photo.read_bytes())
    done = run('in', *DETECTOR, '--out-dir', 'out', '--save-features', 'raw.npz', '--target-layers', 'neck[0]')
    assert done.status == 0
    data = [f'{name}{suffix}' for name in ('a/dog.npz', 'dog.npz') for suffix in ('', '.json')]
    assert files_under(tmp_path / 'raw') == data


def test_a_threshold_under_the_heads_own_is_told_once(run, photo):
    done = run(photo, *DETECTOR, '--target-layers', 'neck[0]', '--score-thr', '0.001', '--out-file', 'x.png')
    assert (done.status, done.out) == (0, 'x.png\n')
    (told,) = (line for line in done.err.splitlines() if 'score-thr' in line)
    assert told.startswith('featmap: --score-thr 0.001 is below the 0.01 that the head itself drops boxes by')
    assert told.endswith('--cfg-options model.test_cfg.score_thr=0.001 lowers that')
