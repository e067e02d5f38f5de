"""The layer tree: names to copy, shapes and strides as measured, and how often a layer is called."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from featmap.default_layers import Default
from featmap.errors import LayerError
from featmap.layer_tree import LayerInfo, measure
from featmap.layers import list_names, resolve
from featmap.models.openmmlab.detector import Detector
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.preview import print_layers, suggestions
from tests.conftest import hooks

YOLOV5 = 'mmyolo::yolov5/yolov5_n-v61_syncbn_fast_8xb16-300e_coco.py'
SMALL = {
    'test_dataloader.dataset.pipeline.1.scale': (160, 160),
    'test_dataloader.dataset.pipeline.2.scale': (160, 160),
}
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def detector() -> Detector:
    return Detector(YOLOV5, device='cpu', cfg_options=SMALL)


@pytest.fixture(scope='module')
def layers(detector: Detector) -> dict[str, LayerInfo]:
    found, missing = measure(detector, IMAGE)
    assert missing is None
    return {layer.name: layer for layer in found}


def printed(layers: Any, width: int = 40, terminal: bool = False) -> list[str]:
    stream = io.StringIO()
    print_layers(layers, Console(file=stream, width=width, force_terminal=terminal, no_color=True))
    return stream.getvalue().splitlines()


class TestMeasure:
    def test_every_layer_parents_first(self, detector: Detector, layers: dict[str, LayerInfo]) -> None:
        assert list(layers) == list_names(detector.model)
        assert hooks(detector.model) == 0

    def test_names_are_what_target_layers_takes(self, detector: Detector, layers: dict[str, LayerInfo]) -> None:
        modules = dict(detector.model.named_modules())
        for name in layers:
            assert resolve(detector.model, [name])[0].module is modules[name]

    def test_a_part_with_several_outputs(self, layers: dict[str, LayerInfo]) -> None:
        assert layers['neck'] == LayerInfo(
            name='neck',
            kind='YOLOv5PAFPN',
            shapes=((64, 20, 20), (128, 10, 10), (256, 5, 5)),
            strides=((8, 8), (16, 16), (32, 32)),
            parameters=710_784,
            calls=1,
        )

    def test_a_convolution(self, layers: dict[str, LayerInfo]) -> None:
        assert layers['backbone.stem.conv'] == LayerInfo(
            'backbone.stem.conv', 'Conv2d', ((16, 80, 80),), ((2, 2),), 16 * 3 * 6 * 6, 1
        )
        assert layers['backbone.stem'].parameters == 16 * 3 * 6 * 6 + 2 * 16

    def test_a_layer_that_is_called_three_times(self, layers: dict[str, LayerInfo]) -> None:
        pool = layers['backbone.stage4.2.poolings']
        assert (pool.kind, pool.calls, pool.shapes, pool.strides) == ('MaxPool2d', 3, ((128, 5, 5),), ((32, 32),))
        assert layers['neck.upsample_layers.0'].calls == 1

    def test_a_layer_that_all_levels_share_is_described_by_its_first_call(self) -> None:
        options = {'test_dataloader.dataset.pipeline.1.scale': (128, 96)}
        retinanet = Detector('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', device='cpu', cfg_options=options)
        found, _ = measure(retinanet, IMAGE, ['bbox_head.cls_convs.0.conv'])
        conv = LayerInfo('bbox_head.cls_convs.0.conv', 'Conv2d', ((256, 12, 16),), ((8, 8),), 256 * 256 * 9 + 256, 5)
        assert found == [conv]

    def test_a_list_of_layers_is_never_called(self, layers: dict[str, LayerInfo]) -> None:
        lists = [layer for layer in layers.values() if layer.kind == 'ModuleList']
        assert 'neck.out_layers' in [layer.name for layer in lists]
        assert {(layer.calls, layer.shapes, layer.strides) for layer in lists} == {(0, (), ())}

    def test_shapes_without_stride_where_the_output_is_no_map(self) -> None:
        options = {'test_dataloader.dataset.pipeline.1.scale': (128, 64), 'model.num_queries': 7,
                   'model.test_cfg.max_per_img': 7}  # fmt: skip
        detr = Detector('mmdet::detr/detr_r50_8xb2-150e_coco.py', device='cpu', cfg_options=options)
        found, _ = measure(detr, IMAGE, ['decoder', 'encoder'])
        infos = {layer.name: layer for layer in found}
        assert infos['encoder'].strides == ((32, 32),)
        assert infos['encoder'].shapes == ((256, 2, 4),)
        assert infos['decoder'].strides == ()
        assert infos['decoder'].shapes == ((6, 1, 7, 256),)
        assert {layer.name.split('.')[0] for layer in found} == {'encoder', 'decoder'}

    def test_parts_of_what_was_asked_for(self, detector: Detector) -> None:
        found, _ = measure(detector, IMAGE, ['backbone.stage1', 'neck'])
        names = [layer.name for layer in found]
        assert names[0] == 'backbone.stage1'
        assert 'neck.reduce_layers.2.conv' in names
        assert all(name.startswith(('backbone.stage1', 'neck')) for name in names)
        assert not any(name.startswith('backbone.stage10') for name in names)

    def test_no_such_layer(self, detector: Detector) -> None:
        with pytest.raises(LayerError, match="no layer 'neckk'; nearest: neck"):
            measure(detector, IMAGE, ['neckk'])
        assert hooks(detector.model) == 0

    def test_an_op_that_is_missing_in_the_head(self, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
        if not ensure_ops():
            pytest.skip('mmcv has its compiled ops here; runs with mmcv-lite')
        monkeypatch.delattr(sys.modules['mmcv._ext'], 'nms')
        monkeypatch.setitem(detector.model.bbox_head.test_cfg, 'score_thr', 0.0)  # type: ignore[union-attr]
        monkeypatch.setattr(detector, 'score_thr', 0.0)
        found, missing = measure(detector, IMAGE)
        assert "'nms'" in str(missing)
        assert {layer.name: layer.calls for layer in found}['neck'] == 1
        assert hooks(detector.model) == 0


LONG = LayerInfo(
    'backbone.' + 'a_rather_long_name.' * 8 + 'conv', 'K' * 50, ((1, 2, 3),) * 20, ((8.0, 8.0), (3.5, 7.25)), 1234567, 2
)


class TestTable:
    def test_a_line_each_and_what_to_try(self, layers: dict[str, LayerInfo]) -> None:
        heading, *lines, last = printed(layers.values())
        assert heading.split() == ['layer', 'type', 'output', 'C×H×W', 'stride', 'parameters', 'calls']
        assert [line.removeprefix('●').split()[0] for line in lines] == list(layers)
        assert last == '● puts out maps; try target_layers backbone neck bbox_head'
        assert [line.startswith('●') for line in lines] == [bool(layer.strides) for layer in layers.values()]

    def test_what_a_line_says(self, layers: dict[str, LayerInfo]) -> None:
        rows = (' '.join(line.removeprefix('●').split()) for line in printed(layers.values()))
        lines = {row.split()[0]: row for row in rows}
        assert lines['neck'] == 'neck YOLOv5PAFPN 64×20×20, 128×10×10, 256×5×5 8, 16, 32 710,784 1'
        assert lines['backbone.stem.conv'] == 'backbone.stem.conv Conv2d 16×80×80 2 1,728 1'
        assert lines['neck.out_layers'] == 'neck.out_layers ModuleList – – 0 never'
        assert lines['backbone.stage4.2.poolings'] == 'backbone.stage4.2.poolings MaxPool2d 128×5×5 32 0 3'

    def test_a_file_gets_everything_however_long(self) -> None:
        text = printed([LONG], width=30)
        assert len(text) == 3
        for part in (LONG.name, 'K' * 50, ', '.join(['1×2×3'] * 20), '8, 3.5×7.25', '1,234,567'):
            assert part in text[1]

    def test_a_terminal_gets_whole_names_and_cut_shapes(self) -> None:
        text = printed([LONG], width=30, terminal=True)
        assert len(text) == 3
        assert LONG.name in text[1]
        assert '1×2×3, 1×2×…' in text[1]
        assert 'KKKKKKKKK…' in text[1]
        assert '1,234,567' in text[1]

    def test_a_terminal_that_is_wide_enough_is_kept_to(self, layers: dict[str, LayerInfo]) -> None:
        for width in (110, 130):
            plain = [re.sub(r'\x1b\[[0-9;]*m', '', line) for line in printed(layers.values(), width, terminal=True)]
            assert max(map(len, plain)) <= width

    def test_to_where_print_goes(self, layers: dict[str, LayerInfo], capsys: pytest.CaptureFixture[str]) -> None:
        print_layers([layers['neck']])
        out = capsys.readouterr().out
        assert 'neck' in out
        assert '64×20×20' in out

    def test_a_long_tree_is_folded_and_says_how_to_unfold_it(self, layers: dict[str, LayerInfo]) -> None:
        stream = io.StringIO()
        print_layers(layers.values(), Console(file=stream), depth=2)
        lines = [' '.join(line.removeprefix('●').split()) for line in stream.getvalue().splitlines()]
        stage = layers['backbone.stage4']
        assert f'backbone.stage4 Sequential (37 inside) 256×5×5 32 {stage.parameters:,} 1' in lines
        assert not any(line.startswith('backbone.stage4.') for line in lines)
        assert lines[-1] == (
            f"{len(lines) - 3} of {len(layers)} layers; preview_depth='all' or target_layers='neck.top_down_layers' "
            'unfolds'
        )

    def test_what_is_drawn_without_target_layers(self, layers: dict[str, LayerInfo]) -> None:
        stream = io.StringIO()
        print_layers([layers['neck']], Console(file=stream), default=Default(('a.1', 'a.2'), '2 stages'))
        assert stream.getvalue().splitlines()[-1] == '● puts out maps; drawn without target_layers: a.1 a.2 (2 stages)'
        stream = io.StringIO()
        print_layers([layers['neck']], Console(file=stream), default=Default(('backbone',)))
        assert stream.getvalue().splitlines()[-1] == '● puts out maps; try target_layers neck'

    def test_nothing(self) -> None:
        assert len(printed([])) == 1

    def test_only_what_runs_is_suggested(self, layers: dict[str, LayerInfo]) -> None:
        below = [layer for name, layer in layers.items() if name.startswith('neck.')]
        found = suggestions(below, count=100)
        assert 'neck.out_layers' not in found
        assert 'neck.out_layers.0' in found
