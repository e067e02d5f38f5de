"""What an inferencer is built from: options, a config, a checkpoint and the ops that there are."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featmap.errors import ConfigError, LayerError, MissingPackageError, OptionError
from featmap.inferencer import FeatMapInferencer
from featmap.models.openmmlab.mmcv_ops import ensure_ops
from featmap.models.sources import openmmlab
from tests.conftest import hooks
from tests.inferencer_helpers import IMAGE, SMALL, YOLOV5, build, names, with_featmap


class TestSettings:
    def test_defaults(self) -> None:
        what = FeatMapInferencer(YOLOV5, device='cpu', cfg_options=SMALL).options.what
        assert (what.target_layers, what.channel_reduction, what.score_thr) == (
            ('backbone',), 'select_max', 0.3)  # fmt: skip

    def test_the_configs_dict(self) -> None:
        cfg = with_featmap(target_layers=['neck'], channel_reduction='squeeze_mean', alpha=0.0, labels=False)
        result = build(cfg)(IMAGE)
        assert names(result) == ['neck[0]', 'neck[1]', 'neck[2]']
        assert {item.reducer for item in result.maps} == {'squeeze_mean'}
        assert result.image.shape == (2 * 62 + 2, 2 * 102 + 2, 3)

    def test_options_win_over_it(self) -> None:
        cfg = with_featmap(target_layers=['neck'], channel_reduction='squeeze_mean', alpha=0.25, score_thr=0.9)
        before = copy.deepcopy(cfg.to_dict())
        inferencer = build(cfg, target_layers=['backbone.stage1'], channel_reduction=None, topk=3, score_thr=0.7)
        assert inferencer.options.look.alpha == 0.25
        assert inferencer.options.what.score_thr == inferencer.network.score_thr == 0.7
        result = inferencer(IMAGE)
        assert names(result) == ['backbone.stage1']
        assert result.maps[0].reducer == 'topk'
        assert len(result.maps[0]) == len(set(result.maps[0].channels)) == 3
        assert cfg.to_dict() == before

    def test_overrides_of_the_config_reach_it(self) -> None:
        inferencer = build(with_featmap(), cfg_options={'featmap.target_layers': ['neck'], 'featmap.topk': 2})
        assert inferencer.options.what.target_layers == ('neck',)
        assert inferencer.options.what.topk == 2

    def test_overrides_of_the_config_reach_the_network(self) -> None:
        options = {**SMALL, 'model.backbone.widen_factor': 0.125, 'model.neck.widen_factor': 0.125}
        options['model.bbox_head.head_module.widen_factor'] = 0.125
        inferencer = build(target_layers=['neck'], cfg_options=options)
        assert [item.shape for item in inferencer(IMAGE).maps] == [(32, 20, 20), (64, 10, 10), (128, 5, 5)]
        assert inferencer(IMAGE).maps[0].geometry.input_shape == (160, 160)

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            ({'target_layer': ['neck']}, "no option 'target_layer'; nearest: target_layers"),
            ({'alpha': 2}, 'alpha=2: expected a number from 0 to 1'),
            ({'channel_reduction': 'squeze_mean'}, "no reducer is called 'squeze_mean'; nearest: squeeze_mean"),
        ],
    )
    def test_slips_are_found_before_a_model_is_built(
        self, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(openmmlab, 'Detector', lambda *args, **kwargs: pytest.fail('it was built'))
        with pytest.raises(OptionError, match=message):
            build(**options)
        with pytest.raises(OptionError, match=message):
            build(with_featmap(**options))

    def test_no_such_config_device_or_layer(self) -> None:
        with pytest.raises(ConfigError, match='yolov5_nn'):
            build('mmyolo::yolov5/yolov5_nn.py')
        with pytest.raises(ConfigError, match='there is no device cuda:99'):
            build(device='cuda:99')
        with pytest.raises(LayerError, match=r"no layer 'backbone\.stage9'; nearest: backbone\.stage"):
            build(target_layers=['backbone.stage9'])


class TestMissingOp:
    @pytest.fixture
    def no_nms(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if not ensure_ops():
            pytest.skip('mmcv has its compiled ops here; runs with mmcv-lite')
        import mmcv.ops  # noqa: F401

        monkeypatch.delattr(sys.modules['mmcv._ext'], 'nms')

    @pytest.mark.usefixtures('no_nms')
    def test_in_the_head(self) -> None:
        inferencer = build(target_layers=['neck'])
        with pytest.raises(MissingPackageError, match=r"'nms'.*mim install.*; boxes=False draws") as caught:
            inferencer(IMAGE)
        assert '\n' not in str(caught.value)
        assert hooks(inferencer.model) == 0
        assert names(build(target_layers=['neck'], boxes=False)(IMAGE)) == ['neck[0]', 'neck[1]', 'neck[2]']

    def test_before_the_wanted_layer(self) -> None:
        inferencer = build(target_layers=['neck'])

        def lacks(*args: Any) -> None:
            raise MissingPackageError("the op 'carafe_forward' needs full mmcv")

        inferencer.model.backbone.register_forward_hook(lacks)
        with pytest.raises(MissingPackageError, match=r"^the op 'carafe_forward' needs full mmcv$"):
            inferencer(IMAGE)


def test_weights_of_a_checkpoint(tmp_path: Path) -> None:
    random = build(target_layers=['neck'], channel_reduction='squeeze_mean')
    weights = random.model.state_dict()
    weights = {name: value * 2 if name.endswith('out_layers.0.main_conv.conv.weight') else value
               for name, value in weights.items()}  # fmt: skip
    weights['backbone.stem.conv.weight'] = weights['backbone.stem.conv.weight'] * 3
    meta = {'dataset_meta': {'classes': ('red', 'green')}}
    torch.save({'state_dict': weights, 'meta': meta}, tmp_path / 'some.pth')
    loaded = build(checkpoint=tmp_path / 'some.pth', target_layers=['neck'], channel_reduction='squeeze_mean')
    assert torch.equal(loaded.model.backbone.stem.conv.weight, weights['backbone.stem.conv.weight'])
    assert loaded.network.classes == ('red', 'green')
    assert not np.array_equal(loaded(IMAGE).maps[0].values, random(IMAGE).maps[0].values)
