"""What goes wrong is said in one line, with status 2 and nothing half-written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import CHECKPOINT, CONFIG, IMAGE, ROOT, files_under

DETECTOR = (CONFIG, CHECKPOINT)
FONT = ROOT / 'tests' / 'fonts' / 'NotoSansCJKsc-subset.otf'


def write_bad_images(folder):
    (folder / 'empty.jpg').touch()
    (folder / 'cut.jpg').write_bytes(IMAGE.read_bytes()[:2000])
    (folder / 'text.png').write_text('not an image')
    (folder / 'bare').mkdir()
    (folder / 'file').write_text('')
    (folder / 'broken.py').write_text('model = dict(\n')
    (folder / 'cut.pth').write_bytes(CHECKPOINT.read_bytes()[:5000])


@pytest.mark.parametrize(
    ('args', 'said'),
    [
        (['missing.jpg', CONFIG, CHECKPOINT], ['missing.jpg']),
        (['empty.jpg', CONFIG, CHECKPOINT], ['empty.jpg', 'empty']),
        (['cut.jpg', CONFIG, CHECKPOINT], ['cut.jpg', 'truncated']),
        (['text.png', CONFIG, CHECKPOINT], ['text.png']),
        (['bare', CONFIG, CHECKPOINT], ['bare', 'no image']),
        (['*.tga', CONFIG, CHECKPOINT], ['*.tga']),
        ([CONFIG, IMAGE, CHECKPOINT], ['yolov5_n_demo.py']),
        ([IMAGE, CHECKPOINT, CONFIG], ['yolov5_n_demo.pth']),
        ([IMAGE, 'missing.py', CHECKPOINT], ['missing.py']),
        ([IMAGE, 'broken.py', CHECKPOINT], ['broken.py']),
        ([IMAGE, 'mmrotate::rotated_fcos/rotated-fcos', CHECKPOINT], ['mmrotate', 'install']),
        ([IMAGE, CONFIG, 'missing.pth'], ['missing.pth']),
        ([IMAGE, CONFIG, 'cut.pth'], ['cut.pth']),
        ([IMAGE, CONFIG, IMAGE], ['demo.jpg']),
        ([IMAGE, 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', CHECKPOINT], ['yolov5_n_demo.pth']),
        ([IMAGE, *DETECTOR, '--target-layers', 'neck.outlayers'],
         ["'neck.outlayers'", 'nearest: neck.out_layers.', '--preview-model']),
        ([IMAGE, *DETECTOR, '--target-layers', 'neck.out_layers'],
         ['ModuleList', 'never run', 'neck.out_layers.0, neck.out_layers.1, neck.out_layers.2']),
        ([IMAGE, *DETECTOR, '--target-layers', 'neck[7]'], ['neck', '[7]', '[0], [1], [2]']),
        ([IMAGE, *DETECTOR, '--target-layers', '__class__'], ["'__class__'"]),
        ([IMAGE, *DETECTOR, '--topk', '0', '--channel-reduction', 'None'], ['--topk 0', '1 or more']),
        ([IMAGE, *DETECTOR, '--topk', '-1', '--channel-reduction', 'None'], ['1 or 3', 'squeeze_mean']),
        ([IMAGE, *DETECTOR, '--topk', '5', '--channel-reduction', 'None', '--arrangement', '2', '2'], ['2 x 2', '5']),
        ([IMAGE, *DETECTOR, '--topk', '5', '--channel-reduction', 'squeeze_mean'], ['--topk', 'None']),
        ([IMAGE, *DETECTOR, '--topk', '5'], ['--topk', 'None', 'select_max']),
        ([IMAGE, *DETECTOR, '--components', '2'], ['--components', 'pca or nmf or kmeans']),
        ([IMAGE, *DETECTOR, '--dpi', '300'], ['--dpi', '--figure']),
        ([IMAGE, *DETECTOR, '--figure', 'x.docx'], ['.pdf', 'x.docx']),
        ([IMAGE, *DETECTOR, '--save-maps', 'x.mat'], ['.npz', 'x.mat']),
        ([IMAGE, *DETECTOR, '--norm', 'mapp'], ['mapp', 'layer']),
        ([IMAGE, *DETECTOR, '--figure', 'x.png', '--out-file', './x.png'], ['--out-file and --figure', "'x.png'"]),
        ([IMAGE, *DETECTOR, '--save-maps', 'x.npz', '--save-features', 'x.npz'],
         ['--save-maps and --save-features', 'give each its own']),
        ([IMAGE, *DETECTOR, '--channel-reduction', 'pca', '--save-maps', 'x.npz', '--save-basis', 'x.npz'],
         ['--save-maps and --save-basis', 'give each its own']),
        ([IMAGE, *DETECTOR, '--target-layers', 'backbone.stage3', 'neck', '--channels', '3', '200'],
         ['backbone.stage3: a map of 128 channels has no channel 200']),
        ([IMAGE, *DETECTOR, '--target-layers', 'neck.0'], ['neck[0]']),
        ([IMAGE, *DETECTOR, '--target-layers', 'neck.*'], ['neck.*.*']),
        ([IMAGE, *DETECTOR, '--arrangement', '2'], ['--arrangement 2', '2x3']),
        ([IMAGE, *DETECTOR, '--channel-reduction', 'sqeeze_mean'], ['sqeeze_mean', 'nearest: squeeze_mean']),
        ([IMAGE, *DETECTOR, '--colormap', 'jett'], ['jett', 'nearest: jet']),
        ([IMAGE, *DETECTOR, '--alpha', '2'], ['--alpha 2', '0 to 1']),
        ([IMAGE, *DETECTOR, '--device', 'cuda:9'], ['cuda:9', '--device cpu']),
        ([IMAGE, *DETECTOR, '--device', 'gpu'], ["'gpu'"]),
        ([IMAGE, *DETECTOR, '--out-file', 'file/x.png'], ['file']),
        ([IMAGE, *DETECTOR, '--out-file', 'bare'], ['bare', 'folder']),
        ([IMAGE, *DETECTOR, '--out-file', 'x.docx'], ['.docx', '.png']),
        ([IMAGE, *DETECTOR, '--out-dir', 'file'], ['file']),
        ([IMAGE, *DETECTOR, '--cfg-options', 'nonsense'], ['nonsense']),
        ([IMAGE, *DETECTOR, '--vis-backends', 'LocalBackend'], ["'LocalBackend'", 'nearest: LocalVisBackend']),
    ],
)  # fmt: skip
def test_one_line_and_nothing_written(run, tmp_path, args, said):
    write_bad_images(tmp_path)
    before = files_under(tmp_path)
    done = run(*args)
    assert done.status == 2
    for part in said:
        assert str(part) in done.error
    assert done.out == ''
    assert files_under(tmp_path) == before


def test_order_of_arguments_is_explained(run):
    done = run('--target-layers', 'neck', IMAGE, *DETECTOR)
    assert done.status == 2
    assert 'IMG... CONFIG CHECKPOINT' in done.error


def test_a_layer_whose_output_is_no_map(run):
    done = run(IMAGE, 'mmdet::detr/detr_r50_8xb2-150e_coco.py', 'none', '--target-layers', 'decoder.layers.0',
               '--no-boxes', '--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(160,160)')  # fmt: skip
    assert done.status == 2
    assert 'decoder.layers.0' in done.error
    assert '(1, 100, 256)' in done.error
    assert 'query' in done.error


def test_a_map_of_nan(run, tmp_path, photo):
    content = torch.load(CHECKPOINT, weights_only=True)
    for name, weight in content['state_dict'].items():
        if name.startswith('neck') and weight.is_floating_point():
            weight.fill_(float('nan'))
    torch.save(content, tmp_path / 'nan.pth')
    before = files_under(tmp_path)
    done = run(photo, CONFIG, 'nan.pth', '--target-layers', 'neck', '--no-boxes')
    assert done.status == 2
    assert 'neck[0] holds no finite value' in done.error
    assert files_under(tmp_path) == before


def test_a_checkpoint_that_wants_to_run_code(run, tmp_path):
    class Payload:
        def __reduce__(self):
            import os

            return os.system, (f'touch {tmp_path / "owned"}',)

    torch.save({'state_dict': {'a': torch.zeros(1)}, 'meta': Payload()}, tmp_path / 'evil.pth')
    done = run(IMAGE, CONFIG, 'evil.pth')
    assert done.status == 2
    assert 'system' in done.error
    assert '--trust-checkpoint' in done.error
    assert not (tmp_path / 'owned').exists()


def test_a_bad_image_in_a_folder_is_skipped_and_named(run, tmp_path, photo):
    folder = tmp_path / 'in'
    folder.mkdir()
    pixels = np.asarray(Image.open(photo))
    for name in ('a.png', 'z.png'):
        Image.fromarray(pixels).save(folder / name)
    (folder / 'm.png').write_bytes(b'')
    done = run('in', *DETECTOR, '--out-dir', 'out')
    assert done.status == 1
    assert files_under(tmp_path / 'out') == ['a.png', 'z.png']
    assert '1 of 3 images failed' in done.err
    assert 'm.png' in done.err.splitlines()[-1]


def test_show_without_a_display(run, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    done = run(IMAGE, *DETECTOR, '--show')
    assert done.status == 2
    assert '--out-file' in done.error


def test_out_file_takes_one_image(run, tmp_path, photo):
    (tmp_path / 'in').mkdir()
    for name in ('a.png', 'b.png'):
        (tmp_path / 'in' / name).write_bytes(photo.read_bytes())
    done = run('in', *DETECTOR, '--out-file', 'x.png')
    assert done.status == 2
    assert '--out-dir' in done.error


def test_debug_shows_the_traceback(run_script):
    done = run_script('missing.jpg', *DETECTOR, '--debug')
    assert done.status == 1
    assert 'Traceback' in done.err
    assert 'SourceError' in done.err


def test_an_error_of_one_image_does_not_end_the_run(run, tmp_path, photo, monkeypatch):
    from featmap.registry import REDUCERS

    monkeypatch.setattr(REDUCERS, '_module_dict', dict(REDUCERS._module_dict))
    calls = []

    @REDUCERS.register_module('fails_on_the_second')
    def fails_on_the_second(features, weights):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError('out of memory')
        return features.mean(0)

    (tmp_path / 'in').mkdir()
    for name in ('a.png', 'b.png', 'c.png'):
        (tmp_path / 'in' / name).write_bytes(photo.read_bytes())
    reducer = ('--channel-reduction', 'fails_on_the_second')
    done = run('in', *DETECTOR, '--target-layers', 'neck[0]', *reducer, '--debug')
    assert done.status == 1
    assert 'Traceback' in done.err
    assert done.out.splitlines() == ['output/a.png', 'output/c.png']
    assert 'RuntimeError: out of memory' in done.err
    assert done.err.splitlines()[-1].endswith('in/b.png')


# --- what is read is never written


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--figure', 'photo.png'], "'photo.png' would overwrite an input image"),
        (['--save-maps', 'ck.npz'], "'ck.npz' would overwrite the checkpoint"),
        (['--out-file', 'link.png'], "'link.png' would overwrite an input image"),
        (['--channel-reduction', 'pca', '--basis', 'basis.npz', '--save-maps', 'basis.npz'],
         "'basis.npz' would overwrite the file of --basis"),
        (['--save-maps', 'm.npz'], "'m.npz.json' would overwrite an input image"),
        (['--font', 'font.png', '--out-file', 'font.png'], "'font.png' would overwrite the file of --font"),
        (['--figure-style', 'my.svg', '--figure', 'my.svg'], "'my.svg' would overwrite the file of --figure-style"),
        (['--gt', '~/gt.png', '--figure', '~/gt.png'], "gt.png' would overwrite the file of --gt"),
        (['--cfg-options', 'featmap.font=font.png', '--out-file', 'font.png'], "'font.png' would overwrite"),
    ],
)  # fmt: skip
def test_nothing_that_is_read_is_overwritten(run, tmp_path, photo, options, said, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'font.png').write_bytes(FONT.read_bytes())
    (tmp_path / 'my.svg').write_text('font.size: 8\n')
    (tmp_path / 'gt.png').write_bytes(b'')
    (tmp_path / 'link.png').symlink_to(photo)
    (tmp_path / 'm.npz.json').symlink_to(photo)
    (tmp_path / 'ck.npz').write_bytes(CHECKPOINT.read_bytes())
    (tmp_path / 'basis.npz').write_bytes(b'')
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    done = run('photo.png', CONFIG, 'ck.npz', *options)
    assert done.status == 2
    assert said in done.error
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
