"""Attention from a model in memory to its picture: the right row on the right cells, and what the label says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featmap.errors import LayerError, OptionError
from featmap.inferencer import FeatMapInferencer
from featmap.storage import load_maps, save_maps
from tests.attention_helpers import Detr, Plain, ViT, share
from tests.conftest import hooks

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
LAYER = 'blocks.1.attn.attn_drop'
PIXEL = (19, 13)  # in column 2 of row 1, which is token 8 of the cells
BOXES = torch.tensor([[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 1], [0.5, 0.5, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1], [0, 0, 0, 0]])


def inferencer(model, *layers: str, **options) -> FeatMapInferencer:
    return FeatMapInferencer(
        model=model, target_layers=layers or (LAYER,), input_size=(32, 48), resize='stretch', device='cpu', **options
    )


@pytest.fixture
def vit():
    model = ViT()
    yield model
    assert hooks(model) == 0
    assert all(block.attn.fused_attn for block in model.blocks)


def test_the_token_under_the_pixel_heads_averaged(vit):
    vis = inferencer(vit)
    for _ in range(2):  # the second forward is not traced
        result = vis(IMAGE, query=PIXEL)
        (item,) = result.maps
        expected = (share(9, 0, 25) + share(9, 1, 25))[1:].view(1, 4, 6) / 2
        np.testing.assert_allclose(item.values, expected, rtol=1e-5)
        assert (item.shape, item.stride, item.query) == ((2, 4, 6), (8, 8), (19.5, 13.5))
        assert result.rendering.panels[1].label.startswith(
            f'{LAYER} · attention of token 2,1 at 19,13 · mean of 2 heads · 2×4×6 · stride 8 · '
        )


def test_single_heads_are_channels(vit):
    result = inferencer(vit)(IMAGE, query=PIXEL, channels=[1])
    np.testing.assert_allclose(result.maps[0].values[0], share(9, 1, 25)[1:].view(4, 6), rtol=1e-5)
    assert 'attention of token 2,1 at 19,13 · channel 1 (head 1)' in result.rendering.panels[1].label
    both = inferencer(vit)(IMAGE, query=PIXEL, channel_reduction=None, topk=2)
    assert len(both.maps[0]) == 2
    mean = inferencer(vit)(IMAGE, query=PIXEL, channel_reduction='squeeze_mean')
    assert 'attention of token 2,1 at 19,13 · squeeze_mean · 2×4×6' in mean.rendering.panels[1].label


def test_without_a_query_it_is_that_of_the_class_token(vit):
    result = inferencer(vit)(IMAGE, channel_reduction='squeeze_mean')
    expected = (share(0, 0, 25) + share(0, 1, 25))[1:].view(1, 4, 6) / 2
    np.testing.assert_allclose(result.maps[0].values, expected, rtol=1e-5)
    assert 'attention of the class token · squeeze_mean' in result.rendering.panels[1].label
    assert result.maps[0].query is None


@pytest.mark.parametrize(
    ('before', 'named', 'has'), [(0, True, False), (4, False, False), (4, True, True), (5, True, True)]
)
def test_a_model_without_a_class_token_says_so(before, named, has):
    vis = inferencer(ViT(before, named), channel_reduction='squeeze_mean')
    if has:
        assert vis(IMAGE).maps[0].meaning == 'attention of the class token'
    else:
        with pytest.raises(LayerError, match='none of them a class token: query X,Y asks for the token at that pixel'):
            vis(IMAGE)
    # The same pixel is further down the sequence.
    count = 24 + before
    expected = (share(8 + before, 0, count) + share(8 + before, 1, count))[before:].view(1, 4, 6) / 2
    np.testing.assert_allclose(vis(IMAGE, query=PIXEL).maps[0].values, expected, rtol=1e-5)


def test_features_and_weights_of_one_layer_are_told_apart():
    model = Plain()
    result = inferencer(model, 'self_attention')(IMAGE, query=PIXEL)
    assert [item.name for item in result.maps] == ['self_attention[0]', 'self_attention[1]']
    assert [panel.label.split(' · ')[1] for panel in result.rendering.panels[1:]] == [
        'similarity to 19,13 (cell 2,1)', 'attention of token 2,1 at 19,13',
    ]  # fmt: skip
    with torch.no_grad():
        x = model.patch_embed(torch.zeros(1, 3, 32, 48)).flatten(2).transpose(1, 2)
        assert model.self_attention(x, x, x, need_weights=False)[1] is None
    alone = inferencer(model, 'self_attention')(IMAGE, channel_reduction='l2')
    assert [item.name for item in alone.maps] == ['self_attention[0]']


def test_what_was_placed_without_a_query_is_placed_anew_with_one():
    vis = inferencer(Plain(), 'self_attention')
    assert vis(IMAGE, channel_reduction='l2').maps[0].tokens.known
    features, weights = vis(IMAGE, query=PIXEL).maps
    assert (features.tokens.known, weights.stride_known) == (True, True)
    assert (weights.stride, weights.tokens.count) == ((8, 8), 24)


def test_calibration_leaves_attention_where_it_is():
    vit = ViT()
    vit.blocks[1].attn.fused_attn = False
    photo = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    vis = inferencer(vit, 'blocks.1', LAYER, placement='calibrated', query=PIXEL)
    moved, still = vis(photo), inferencer(vit, 'blocks.1', LAYER)(photo, query=PIXEL)
    # In a mirror image another token is at the pixel: its attention is no mirror image.
    assert {target.name for target, _, _ in vis.extractor.placement._displaced} == {'blocks.1'}
    assert moved.maps[1].offset == (0, 0)
    np.testing.assert_array_equal(moved.maps[1].values, still.maps[1].values)


def test_saved_attention_is_drawn_again(vit, tmp_path):
    vis = inferencer(vit)
    result = vis(IMAGE, query=PIXEL)
    saved = load_maps(save_maps(tmp_path / 'maps.npz', vis.record(result)))
    assert np.array_equal(saved.draw(IMAGE).image, result.image)


def test_a_query_without_an_effect_is_refused(vit):
    with pytest.raises(OptionError) as caught:
        inferencer(vit, 'blocks.1')(IMAGE, query=PIXEL, channel_reduction='l2')
    assert str(caught.value) == (
        "query=(19, 13) has no effect on blocks.1 with l2: it goes with channel_reduction='similarity', or with "
        'layers that hand out attention weights'
    )
    with pytest.raises(
        LayerError, match='25 queries over 25 keys, which are tokens of the image: query X,Y asks for one'
    ):
        inferencer(vit)(IMAGE, query=3)


CROSS = 'decoder.layers.0.cross_attn'


def test_the_object_query_whose_box_is_there_or_by_its_number():
    model = Detr(BOXES)
    for boxes in (True, False):
        vis = inferencer(model, CROSS, boxes=boxes)
        for options, row, name in (
            ({'query': PIXEL}, 1, 'object query 1 at 19,13'),
            ({'query': (24, 16)}, 2, 'object query 2 at 24,16'),
            ({'query': 3}, 3, 'object query 3'),
            ({'query': '4'}, 4, 'object query 4'),
        ):
            result = vis(IMAGE, **options)
            expected = (share(row, 0, 24) + share(row, 1, 24)).view(1, 4, 6) / 2
            np.testing.assert_allclose(result.maps[0].values, expected, rtol=1e-5)
            assert f'attention of {name} · mean of 2 heads' in result.rendering.panels[1].label
        assert result.maps[0].query is None
    assert hooks(model) == 0


def test_what_no_object_query_is_asked_of_says_how_to():
    vis = inferencer(Detr(BOXES[2:4], 2), CROSS)
    with pytest.raises(LayerError, match='none of the boxes of 2 object queries holds 3,3: query N asks for one by'):
        vis(IMAGE, query=(3, 3))
    with pytest.raises(LayerError, match='there is no query 5, expected 0 to 1'):
        vis(IMAGE, query=5)
    with pytest.raises(
        LayerError, match='query X,Y asks for the object query whose box is there, query N for one by its'
    ):
        vis(IMAGE)
    with pytest.raises(
        LayerError, match='5 queries over 5 keys, which are object queries and have no place in the image'
    ):
        inferencer(Detr(BOXES), 'decoder.layers.0.self_attn')(IMAGE, query=PIXEL)
    with pytest.raises(LayerError, match='puts out no boxes of its 5 object queries'):
        inferencer(Detr(None), CROSS)(IMAGE, query=PIXEL)


def test_over_the_network_input_no_box_can_be_placed():
    vis = inferencer(Detr(BOXES), CROSS, overlay='input')
    with pytest.raises(
        LayerError, match="boxes are shares of the image, whose place is not known with overlay='input'"
    ):
        vis(IMAGE, query=PIXEL)
    assert vis(IMAGE, query=1).maps[0].meaning == 'attention of object query 1'


def test_as_many_object_queries_as_cells_are_no_cells():
    model = Detr(torch.cat([BOXES, torch.zeros(19, 4)]), 24)
    result = inferencer(model, CROSS)(IMAGE, query=PIXEL)
    assert result.maps[0].meaning == 'attention of object query 1 at 19,13'


def test_similarity_to_a_number_is_refused(vit):
    with pytest.raises(OptionError, match='similarity is to a pixel of the image: query X,Y says which'):
        inferencer(vit, 'blocks.1')(IMAGE, query=3)
