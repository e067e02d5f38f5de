"""Attention of transformers' and timm's models, against the weights that the libraries themselves hand out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from featmap import FeatMapInferencer
from featmap.attention import AttentionTape, Keys
from featmap.errors import LayerError
from featmap.explaining import Explaining
from featmap.targets.spec import parse_target
from tests.conftest import hooks
from tests.peers import test_transformers as library
from tests.peers.helpers import photo

pytestmark = pytest.mark.peers
hf = pytest.importorskip('transformers', reason='transformers is not installed; runs in `make test-peers`')

IMAGE = photo(150, 211)


def rt_detr_v2():
    first = library.rt_detr()
    same = {key: value for key, value in first.to_dict().items() if key not in ('model_type', 'backbone_config')}
    return hf.RTDetrV2Config(backbone_config=first.backbone_config, **{**same, 'decoder_layers': 2})


def d_fine():
    backbone = hf.HGNetV2Config(
        stem_channels=[3, 8, 8], stage_in_channels=[8, 16, 16, 16], stage_mid_channels=[8] * 4,
        stage_out_channels=[16] * 4, stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4, embedding_size=8,
        hidden_sizes=[16] * 4, depths=[1] * 4, out_features=['stage2', 'stage3', 'stage4'],
    )  # fmt: skip
    return hf.DFineConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[16] * 3, encoder_ffn_dim=32,
        encoder_attention_heads=2, d_model=32, decoder_in_channels=[32] * 3, decoder_ffn_dim=32, decoder_layers=2,
        decoder_attention_heads=2, num_queries=6, decoder_n_points=[3, 6, 3], **library.NAMES,
    )  # fmt: skip


RT_PROCESSOR = ('RTDetrImageProcessor', {'size': {'height': 128, 'width': 128}})
MORE = {
    'rt_detr_v2': ('RTDetrV2ForObjectDetection', rt_detr_v2, RT_PROCESSOR),
    'd_fine': ('DFineForObjectDetection', d_fine, RT_PROCESSOR),
}


def opened(name, folder, **options):
    """The model with random weights, its processor, and the same as featmap opens it."""
    kind, config, (processor, settings) = (MORE.get(name) or library.MODELS[name])[:3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(hf, kind)(config()).eval()
    processor = getattr(hf, processor)(**settings)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    vis = FeatMapInferencer(f'hf:{folder}', 'pretrained', device='cpu', **options)
    return model, processor, vis.extractor.network


def given(processor):
    found = dict(processor(images=Image.fromarray(IMAGE), return_tensors='pt'))
    return {key: value for key, value in found.items() if key in ('pixel_values', 'pixel_mask')}


def explained(network, method, spec, **more):
    (explanation,) = Explaining(network, parse_target(spec), [method], **more)(IMAGE).explanations
    assert hooks(network.model) == 0
    return explanation


def share(values):
    return (values / values.max()).detach().numpy()


@pytest.mark.parametrize('name', ['detr', 'conditional_detr'])
def test_cross_attention_is_what_the_library_hands_out(name, tmp_path):
    model, processor, network = opened(name, tmp_path, score_thr=0.0)
    model.set_attn_implementation('eager')
    found = explained(network, 'attention', 'box:0')
    with torch.no_grad():
        weights = model(**given(processor), output_attentions=True).cross_attentions[-1][0]
    (item,) = found.maps
    assert (item.layer, item.stride, item.stride_known) == ('model.decoder.layers.1.encoder_attn', (32, 32), True)
    expected = share(weights.mean(dim=0)[found.trace.query]).reshape(item.values.shape[1:])
    np.testing.assert_allclose(item.values[0], expected, atol=1e-4)


@pytest.mark.parametrize('name', ['deformable_detr', 'rt_detr', 'rt_detr_v2', 'd_fine'])
def test_deformable_attention(name, tmp_path):
    model, processor, network = opened(name, tmp_path, score_thr=0.0)
    found = explained(network, 'attention', 'box:0')
    (item,) = found.maps
    assert (item.layer.rpartition('.')[2], item.stride, item.stride_known) == ('encoder_attn', (8, 8), True)
    assert found.notes[0].endswith('samples of 3 levels')
    # Offsets that have learned nothing are of a few cells: the query looks at its box.
    rows, columns = np.indices(found.heat.shape)
    middle = np.array([(axis * found.heat).sum() / found.heat.sum() for axis in (columns, rows)])
    x1, y1, x2, y2 = found.box
    away = np.abs(middle - [(x1 + x2) / 2, (y1 + y2) / 2]) / (211, 150)
    assert away.max() < 0.35
    with pytest.raises(LayerError, match='is deformable attention, which has no matrix of weights'):
        explained(network, 'generic_attention', 'box:0')

    # The weights are the library's own; where they are read was checked while they were taken down.
    tape = AttentionTape(model, lambda layer, call, tokens, grids: Keys(layer))
    with torch.no_grad(), tape:
        model(**given(processor))
    with torch.no_grad():
        theirs = model(**given(processor), output_attentions=True).cross_attentions
    ours = [each for each in tape.samplings if each.across]
    assert len(ours) == len(theirs)
    for own, their in zip(ours, theirs):
        torch.testing.assert_close(own.samples.weights, their[0].flatten(2), rtol=1e-4, atol=1e-6)


def rolled_out(attentions, row):
    """The paper's rule for self-attention, from the library's weights, which kept their gradients."""
    relevance = torch.eye(attentions[0].shape[-1])
    for weights in attentions:
        relevance = relevance + (weights.grad[0] * weights[0]).clamp_min(0).mean(dim=0) @ relevance
    return relevance[row]


@pytest.mark.parametrize('name', ['vit', 'yolos'])
@pytest.mark.parametrize('kernel', ['eager', 'sdpa'])
def test_relevance_through_self_attention(name, kernel, tmp_path):
    model, processor, network = opened(name, tmp_path, score_thr=0.0)
    network.model.set_attn_implementation(kernel)
    model.set_attn_implementation('eager')
    found = explained(network, 'generic_attention', 'class:dog' if name == 'vit' else 'box:0')
    output = model(**given(processor), output_attentions=True)
    for weights in output.attentions:
        weights.retain_grad()
    tokens = output.attentions[0].shape[-1]
    if name == 'vit':
        row, scalar = 0, output.logits[0, 1]
    else:
        row = tokens - 7 + found.trace.query
        scalar = output.logits[0, found.trace.query].softmax(dim=-1)[found.class_index].log()
    scalar.backward()
    (item,) = found.maps
    cells = item.values[0].size
    expected = rolled_out(output.attentions, row)[1 : 1 + cells].reshape(item.values.shape[1:])
    np.testing.assert_allclose(item.values[0], share(expected), atol=1e-3)
    assert item.stride_known

    seen = explained(network, 'attention', 'class:dog' if name == 'vit' else 'box:0').maps[0].values[0]
    weights = output.attentions[-1][0].mean(dim=0)[row, 1 : 1 + cells].reshape(seen.shape)
    np.testing.assert_allclose(seen, share(weights), atol=1e-4)


def test_windows_are_refused(tmp_path):
    _, _, network = opened('swin', tmp_path)
    with pytest.raises(LayerError, match='windows, each by itself, for which generic_attention is not defined'):
        explained(network, 'generic_attention', 'class:dog')


@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'vit_small_patch14_reg4_dinov2'])
def test_timms_fused_attention(name):
    timm = pytest.importorskip('timm', reason='timm is not installed; runs in `make test-peers`')
    arguments = {'depth': 2, 'num_classes': 5, **({'img_size': 112} if 'dinov2' in name else {})}
    vis = FeatMapInferencer(
        f'timm:{name}', 'none', target_layers='blocks.1', device='cpu', boxes=False, model_args=arguments
    )
    network = vis.extractor.network
    found = explained(network, 'generic_attention', 'class:3')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(name, **arguments).eval()
    attentions = []

    def keep(module, inputs, output):
        output.retain_grad()
        attentions.append(output)

    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(keep)
    model(network.prepare([IMAGE]).inputs.contiguous())[0, 3].backward()
    (item,) = found.maps
    cells = item.values[0].size
    expected = rolled_out(attentions, 0)[-cells:]
    np.testing.assert_allclose(item.values[0], share(expected.reshape(item.values.shape[1:])), atol=1e-3)
