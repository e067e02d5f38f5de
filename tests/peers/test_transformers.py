"""Models of transformers, built from small configs with random weights: no network is needed."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from featmap import FeatMapInferencer
from featmap.errors import FeatMapError
from featmap.layouts import flatten
from tests.peers.helpers import assert_placed, hooked, photo, positions

pytestmark = pytest.mark.peers
hf = pytest.importorskip('transformers', reason='transformers is not installed; runs in `make test-peers`')

BLOCKS = {'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 2}
VIT = {**BLOCKS, 'intermediate_size': 64}
STAGES = {'hidden_sizes': [8, 16, 24, 32], 'depths': [1, 1, 1, 1]}
SWIN = {'image_size': 128, 'embed_dim': 16, 'depths': [1, 1, 1, 1], 'num_heads': [1, 1, 2, 2], 'window_size': 4}
NAMES = {'id2label': {0: 'cat', 1: 'dog', 2: 'boat'}, 'label2id': {'cat': 0, 'dog': 1, 'boat': 2}}


def resnet(*stages):
    return hf.ResNetConfig(embedding_size=8, layer_type='basic', out_features=[f'stage{i}' for i in stages], **STAGES)


def detr(**more):
    return {
        'use_timm_backbone': False, 'use_pretrained_backbone': False, 'backbone': None, 'd_model': 32,
        'encoder_layers': 1, 'decoder_layers': 2, 'encoder_attention_heads': 2, 'decoder_attention_heads': 2,
        'encoder_ffn_dim': 32, 'decoder_ffn_dim': 32, 'num_queries': 5, **NAMES, **more,
    }  # fmt: skip


def rt_detr():
    backbone = hf.RTDetrResNetConfig(
        embedding_size=8, layer_type='basic', out_features=['stage2', 'stage3', 'stage4'], **STAGES
    )
    return hf.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[16, 24, 32], encoder_ffn_dim=32,
        encoder_attention_heads=2, d_model=32, decoder_in_channels=[32, 32, 32], decoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, num_queries=6, **NAMES,
    )  # fmt: skip


def mask2former():
    backbone = hf.SwinConfig(out_features=['stage1', 'stage2', 'stage3', 'stage4'], **SWIN)
    return hf.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=5, **NAMES,
    )  # fmt: skip


def square(size):
    return {'height': size, 'width': size}


def limits(shorter, longer):
    return {'shortest_edge': shorter, 'longest_edge': longer}


# The class, its config, its image processor, the end of its layers' classes' names, and their strides by the paper.
MODELS = {
    'vit': ('ViTForImageClassification', lambda: hf.ViTConfig(image_size=64, patch_size=8, **VIT, **NAMES),
            ('ViTImageProcessor', {'size': square(64)}), 'ViTLayer', [8, 8]),
    'deit': ('DeiTForImageClassificationWithTeacher', lambda: hf.DeiTConfig(image_size=64, patch_size=16, **VIT),
             ('DeiTImageProcessor', {'size': square(72), 'crop_size': square(64)}), 'DeiTLayer', [16, 16]),
    'dinov2': ('Dinov2Model', lambda: hf.Dinov2Config(image_size=70, patch_size=14, **BLOCKS),
               ('BitImageProcessor', {'size': {'shortest_edge': 84}, 'crop_size': square(84)}), 'Dinov2Layer',
               [14, 14]),
    'dinov2_with_registers': (
        'Dinov2WithRegistersModel',
        lambda: hf.Dinov2WithRegistersConfig(image_size=70, patch_size=14, num_register_tokens=4, **BLOCKS),
        ('BitImageProcessor', {'size': {'shortest_edge': 84}, 'do_center_crop': False}), 'RegistersLayer', [14, 14]),
    'dinov3': ('DINOv3ViTModel', lambda: hf.DINOv3ViTConfig(image_size=64, patch_size=16, num_register_tokens=4, **VIT),
               ('DINOv3ViTImageProcessor', {'size': {'height': 64, 'width': 96}}), 'DINOv3ViTLayer', [16, 16]),
    'dinov3_convnext': ('DINOv3ConvNextModel', lambda: hf.DINOv3ConvNextConfig(**STAGES),
                        ('DINOv3ViTImageProcessor', {'size': square(96)}), 'ConvNextStage', [4, 8, 16, 32]),
    'swin': ('SwinForImageClassification', lambda: hf.SwinConfig(**SWIN, **NAMES),
             ('ViTImageProcessor', {'size': square(128)}), ('SwinLayer', 'SwinBlock'), [4, 8, 16, 32]),
    'swinv2': ('Swinv2ForImageClassification', lambda: hf.Swinv2Config(**SWIN, **NAMES),
               ('ViTImageProcessor', {'size': square(128)}), 'Swinv2Layer', [4, 8, 16, 32]),
    'convnext': ('ConvNextForImageClassification', lambda: hf.ConvNextConfig(**STAGES, **NAMES),
                 ('ConvNextImageProcessor', {'size': {'shortest_edge': 96}, 'crop_pct': 0.875}), 'ConvNextStage',
                 [4, 8, 16, 32]),
    'convnextv2': ('ConvNextV2ForImageClassification', lambda: hf.ConvNextV2Config(**STAGES),
                   ('ConvNextImageProcessor', {'size': {'shortest_edge': 384}}), 'ConvNextV2Stage', [4, 8, 16, 32]),
    'resnet': ('ResNetForImageClassification', lambda: resnet(4),
               ('ConvNextImageProcessor', {'size': {'shortest_edge': 96}, 'crop_pct': 0.875}), 'ResNetStage',
               [4, 8, 16, 32]),
    'beit': ('BeitForSemanticSegmentation',
             lambda: hf.BeitConfig(
                 image_size=64, patch_size=16, use_relative_position_bias=True, out_indices=[1, 2, 3, 4],
                 **{**VIT, 'num_hidden_layers': 4}, **NAMES),
             ('BeitImageProcessor', {'size': square(64), 'do_center_crop': False}), 'BeitLayer', [16] * 4),
    'segformer': ('SegformerForSemanticSegmentation',
                  lambda: hf.SegformerConfig(
                      num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16, **STAGES, **NAMES),
                  ('SegformerImageProcessor', {'size': square(128)}), 'SegformerStage', [4, 8, 16, 32]),
    'upernet': ('UperNetForSemanticSegmentation',
                lambda: hf.UperNetConfig(
                    backbone_config=hf.ConvNextConfig(out_features=['stage1', 'stage2', 'stage3', 'stage4'], **STAGES),
                    hidden_size=16, auxiliary_in_channels=24, auxiliary_channels=8, **NAMES),
                ('SegformerImageProcessor', {'size': square(128)}), 'ConvNextStage', [4, 8, 16, 32]),
    'mask2former': ('Mask2FormerForUniversalSegmentation', mask2former,
                    ('Mask2FormerImageProcessor', {'size': limits(120, 200), 'size_divisor': 32}),
                    ('SwinLayer', 'SwinBlock'), [4, 8, 16, 32]),
    'detr': ('DetrForObjectDetection', lambda: hf.DetrConfig(**detr(backbone_config=resnet(4))),
             ('DetrImageProcessor', {'size': limits(96, 160)}), ('ResNetStage', 'DetrEncoderLayer'),
             [4, 8, 16, 32, 32]),
    'conditional_detr': ('ConditionalDetrForObjectDetection',
                         lambda: hf.ConditionalDetrConfig(**detr(backbone_config=resnet(4))),
                         ('ConditionalDetrImageProcessor', {'size': limits(96, 160)}),
                         ('ResNetStage', 'DetrEncoderLayer'), [4, 8, 16, 32, 32]),
    'deformable_detr': ('DeformableDetrForObjectDetection',
                        lambda: hf.DeformableDetrConfig(**detr(backbone_config=resnet(2, 3, 4), num_feature_levels=3)),
                        ('DeformableDetrImageProcessor', {'size': limits(96, 160)}), 'ResNetStage', [4, 8, 16, 32]),
    'rt_detr': ('RTDetrForObjectDetection', rt_detr, ('RTDetrImageProcessor', {'size': square(128)}),
                ('RTDetrResNetStage', 'CSPRepLayer'), [4, 8, 16, 32, 16, 8, 16, 32]),
    'yolos': ('YolosForObjectDetection',
              lambda: hf.YolosConfig(image_size=[64, 96], patch_size=16, num_detection_tokens=7, **VIT, **NAMES),
              ('YolosImageProcessor', {'size': limits(96, 160)}), 'YolosLayer', [16, 16]),
    'clip': ('CLIPVisionModel', lambda: hf.CLIPVisionConfig(image_size=64, patch_size=16, **VIT),
             ('CLIPImageProcessor', {'size': {'shortest_edge': 64}, 'crop_size': square(64)}), 'CLIPEncoderLayer',
             [16, 16]),
    'siglip': ('SiglipVisionModel', lambda: hf.SiglipVisionConfig(image_size=64, patch_size=16, **VIT),
               ('SiglipImageProcessor', {'size': square(64)}), 'SiglipEncoderLayer', [16, 16]),
    'mobilevit': ('MobileViTForImageClassification',
                  lambda: hf.MobileViTConfig(
                      image_size=64, hidden_sizes=[16, 20, 24], neck_hidden_sizes=[8] * 6 + [16],
                      num_attention_heads=2),
                  ('MobileViTImageProcessor', {'size': {'shortest_edge': 72}, 'crop_size': square(64)}),
                  ('MobileNetLayer', 'MobileViTLayer'), [2, 4, 8, 16, 32]),
}  # fmt: skip


def build(name):
    kind, config, (processor, settings), ends, strides = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(hf, kind)(config()).eval()
    layers = [layer for layer, module in model.named_modules() if type(module).__name__.endswith(ends)]
    return model, getattr(hf, processor)(**settings), layers, strides


def save(name, folder):
    model, processor, layers, strides = build(name)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor, layers, strides


def draw(folder, checkpoint='pretrained', **options):
    return FeatMapInferencer(f'hf:{folder}', checkpoint, device='cpu', **options)


def expected_place(settings, height, width):
    """Where the input's pixels (0, 0) and (100, 100) lie in the original, by what the image processors document."""
    size, crop = settings['size'], settings.get('crop_size')
    if 'longest_edge' in size:
        scale = min(size['shortest_edge'] / min(height, width), size['longest_edge'] / max(height, width))
        divisor = settings.get('size_divisor')  # up to a multiple of it
        resized = [math.ceil(side * scale / divisor) * divisor if divisor else side * scale for side in (height, width)]
    elif 'height' in size:
        resized = size['height'], size['width']
    elif size['shortest_edge'] >= 384:  # ConvNeXt's processor stretches from there on
        resized = size['shortest_edge'], size['shortest_edge']
    else:
        shorter = int(size['shortest_edge'] / settings.get('crop_pct', 1))
        resized = shorter, int(shorter * width / height)
        crop = square(size['shortest_edge']) if 'crop_pct' in settings else crop
    top, left = ((resized[0] - crop['height']) // 2, (resized[1] - crop['width']) // 2) if crop else (0, 0)
    x, y = width / resized[1], height / resized[0]
    return [left * x, top * y, (left + 100) * x, (top + 100) * y]


@pytest.mark.parametrize('name', MODELS)
def test_features_and_places(name, tmp_path):
    model, processor, layers, strides = save(name, tmp_path)
    image = photo(150, 211)
    vis = draw(tmp_path, target_layers=layers, boxes=False, keep_features=True)
    given = dict(processor(images=Image.fromarray(image), return_tensors='pt'))
    given = {key: value for key, value in given.items() if key in ('pixel_values', 'pixel_mask')}
    plain = hooked(model, layers, lambda: model(**given))
    maps = vis.extractor.extract(image)[0]
    assert [item.layer for item in maps] == layers
    assert [item.stride for item in maps] == [(stride, stride) for stride in strides]
    for item in maps:
        expected = first_tensor(plain[item.layer])
        if expected.ndim == 2:
            rows, columns = item.shape[1:]
            start = {'yolos': 1}.get(name, len(expected) - rows * columns)
            expected = expected[start : start + rows * columns].T.reshape(item.shape)
        scale = float(expected.abs().max())
        torch.testing.assert_close(torch.from_numpy(item.features), expected, rtol=1e-4, atol=2e-5 * scale)

    settings = MODELS[name][2][1]
    expected = expected_place(settings, 150, 211)
    if name == 'yolos':  # its processor resizes down to multiples of a patch
        expected = [0, 0, 100 * 211 / 128, 100 * 150 / 96]
    assert np.abs(positions(maps[0].geometry) - expected).max() < 0.5
    # What is left of a patch after all of MobileViT's small random weights is rounding.
    assert_placed(vis, (150, 211), (88, 60), 24, wide=(layers[-1],) if name == 'mobilevit' else ())


def first_tensor(output):
    return next(leaf.value for leaf in flatten(output) if isinstance(leaf.value, torch.Tensor))[0]


def last_linear(model, part):
    """The last linear layer of the head for classes or boxes."""
    modules = model.named_modules()
    return [module for name, module in modules if name.startswith(part) and isinstance(module, torch.nn.Linear)][-1]


@pytest.mark.parametrize('name', ['detr', 'yolos'])
@pytest.mark.parametrize('named', [True, False])
def test_a_box_that_the_head_is_made_to_answer(name, named, tmp_path):
    model, processor, *_ = build(name)
    if not named:
        model.config.id2label = {number: f'LABEL_{number}' for number in range(3)}
    answers = {'class_labels_classifier': [0.0, 0.0, 4.0, 0.0], 'bbox_predictor': [0.5, 0.25, 0.2, 0.3]}
    answers['bbox_predictor'] = torch.tensor(answers['bbox_predictor']).logit()
    with torch.no_grad():
        for part, bias in answers.items():
            layer = last_linear(model, part)
            layer.weight.zero_()
            layer.bias.copy_(torch.as_tensor(bias))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    found = draw(tmp_path, score_thr=0.5).extractor.extract(photo(150, 211))[1]
    assert found.kind == 'detection'
    assert set(found.labels.tolist()) == {2}
    assert found.class_name(2) == ('boat' if named else '2')
    # Of three classes and no object.
    np.testing.assert_allclose(found.scores, math.exp(4) / (math.exp(4) + 3), atol=1e-4)
    expected = [0.4 * 211, 0.1 * 150, 0.6 * 211, 0.4 * 150]
    assert len(found.boxes) == (5 if name == 'detr' else 7)
    np.testing.assert_allclose(found.boxes, [expected] * len(found.boxes), atol=0.2)


def answered(model, processor, image):
    given = dict(processor(images=Image.fromarray(image), return_tensors='pt'))
    with torch.no_grad():
        return model(**{key: value for key, value in given.items() if key in ('pixel_values', 'pixel_mask')})


@pytest.mark.parametrize('name', ['detr', 'conditional_detr', 'deformable_detr', 'rt_detr', 'yolos', 'detr, padded'])
def test_boxes_are_those_of_the_library(name, tmp_path):
    name, _, padded = name.partition(', ')
    model, processor, *_ = save(name, tmp_path)
    image = photo(150, 211)
    if padded:
        processor = hf.DetrImageProcessor(size=limits(96, 160), pad_size={'height': 192, 'width': 256})
        processor.save_pretrained(tmp_path)
    output = answered(model, processor, image)
    # Where each class of a query is by itself, as many boxes as there are queries.
    most = {'top_k': 5} if name in ('conditional_detr', 'deformable_detr') else {}
    theirs = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(150, 211)], **most)[0]
    x1, y1, x2, y2 = theirs['boxes'].clamp(min=0).unbind(dim=1)
    inside = (x1.clamp(max=211) < x2.clamp(max=211)) & (y1.clamp(max=150) < y2.clamp(max=150))
    found = draw(tmp_path, score_thr=0.0).extractor.extract(image)[1]
    edges = theirs['boxes'][inside].numpy().clip(0, [211, 150, 211, 150])
    rows = sorted(zip(found.scores.tolist(), found.labels.tolist(), found.boxes.tolist()))
    expected = sorted(zip(theirs['scores'][inside].tolist(), theirs['labels'][inside].tolist(), edges.tolist()))
    assert len(rows) == len(expected) > 3
    np.testing.assert_allclose([row[0] for row in rows], [row[0] for row in expected], atol=1e-5)
    assert [row[1] for row in rows] == [row[1] for row in expected]
    np.testing.assert_allclose([row[2] for row in rows], [row[2] for row in expected], atol=0.2)


@pytest.mark.parametrize('name', ['segformer', 'beit', 'upernet', 'mask2former'])
def test_segments_are_those_of_the_library(name, tmp_path):
    model, processor, *_ = save(name, tmp_path)
    image = photo(150, 211)
    output = answered(model, processor, image)
    theirs = processor.post_process_semantic_segmentation(output, target_sizes=[(150, 211)])[0].numpy()
    found = draw(tmp_path).extractor.extract(image)[1]
    assert found.segments.kind == 'semantic'
    ours = np.array([-1, *found.segments.labels])[found.segments.numbers]
    assert (ours == theirs).mean() > 0.97


@pytest.mark.parametrize('name', ['vit', 'swin', 'convnext'])
def test_the_best_classes(name, tmp_path):
    model, processor, *_ = save(name, tmp_path)
    image = photo(150, 211)
    chances = answered(model, processor, image).logits[0].softmax(dim=0)
    found = draw(tmp_path).extractor.extract(image)[1]
    order = chances.argsort(descending=True)
    assert found.classification.labels.tolist() == order.tolist()
    np.testing.assert_allclose(found.classification.scores, chances[order], atol=1e-5)
    assert found.class_name(2) == 'boat'


def tiny_vit(folder, **more):
    config = hf.ViTConfig(image_size=64, patch_size=8, **VIT, **NAMES, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = hf.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    return model


def features(vis, image=None):
    return {item.layer: item for item in vis.extractor.extract(photo(150, 211) if image is None else image)[0]}


LAST = {'target_layers': 'vit.layers.1', 'boxes': False, 'keep_features': True}


def test_a_type_of_model_has_random_weights_the_same_each_time():
    options = {'model_args': {**VIT, 'image_size': 64, 'patch_size': 8}, 'keep_features': True}
    state = torch.get_rng_state()
    one, other = (features(draw('vit', 'none', target_layers='layers.1', **options))['layers.1'] for _ in range(2))
    np.testing.assert_array_equal(one.features, other.features)
    assert torch.equal(state, torch.get_rng_state())
    assert one.shape == (32, 8, 8)
    assert one.note == 'random weights'
    with pytest.raises(FeatMapError, match=r"ViTConfig has no 'patchsize'; nearest: patch_size"):
        draw('vit', 'none', model_args={'patchsize': 8})
    with pytest.raises(FeatMapError, match='is a type of model, of which there are no weights'):
        draw('vit', 'pretrained')


def test_embeddings_are_interpolated_for_another_size(tmp_path):
    model = tiny_vit(tmp_path)
    image = photo(150, 211)
    item = features(draw(tmp_path, input_size=(96, 128), **LAST))['vit.layers.1']
    assert (item.shape, item.stride, item.geometry.input_shape) == ((32, 12, 16), (8, 8), (96, 128))
    processor = hf.ViTImageProcessor(size={'height': 96, 'width': 128})
    given = processor(images=Image.fromarray(image), return_tensors='pt')
    run = lambda: model(**given, interpolate_pos_encoding=True)  # noqa: E731
    plain = hooked(model, ['vit.layers.1'], run)['vit.layers.1']
    expected = first_tensor(plain)[1:].T.reshape(32, 12, 16)
    torch.testing.assert_close(torch.from_numpy(item.features), expected, rtol=1e-4, atol=1e-5)


def test_the_usual_processor_has_the_size_of_the_config(tmp_path):
    tiny_vit(tmp_path)
    item = features(draw(tmp_path, **LAST))['vit.layers.1']
    assert item.geometry.input_shape == (64, 64)
    assert item.geometry.scale == pytest.approx((64 / 211, 64 / 150), abs=1e-3)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('dinov2', (70, 70)), ('dinov2_with_registers', (70, 70)), ('dinov3', (64, 64)), ('clip', (64, 64)),
        ('siglip', (64, 64)), ('deit', (64, 64)), ('convnext', (224, 224)), ('rt_detr', (640, 640)),
        ('beit', (64, 64)), ('swin', (128, 128)), ('yolos', (800, 1120)),
    ],
)  # fmt: skip
def test_the_usual_processors(name, expected, tmp_path):
    build(name)[0].save_pretrained(tmp_path)
    vis = draw(tmp_path, 'none', target_layers=build(name)[2][:1], boxes=False)
    assert vis.extractor.extract(photo(150, 211))[0][0].geometry.input_shape == expected


@pytest.mark.parametrize(
    ('name', 'size', 'expected', 'scale'),
    [
        ('vit', 96, (96, 96), (96 / 211, 96 / 150)),  # stretches
        ('deit', (96, 80), (96, 80), (90 / 211, 108 / 150)),  # with the margin of 72 to 64
        ('clip', 96, (96, 96), (135 / 211, 96 / 150)),  # by the shorter side, then a crop
        ('convnext', 64, (64, 64), (102 / 211, 73 / 150)),  # by the shorter side with a margin
        ('detr', (96, 96), (68, 96), (96 / 211, 68 / 150)),  # whole, within
    ],
)
def test_processors_are_asked_for_another_size(name, size, expected, scale, tmp_path):
    layers = save(name, tmp_path)[2]
    item = draw(tmp_path, input_size=size, target_layers=layers[:1], boxes=False).extractor.extract(photo(150, 211))[0][
        0
    ]
    assert item.geometry.input_shape == expected
    assert item.geometry.scale == pytest.approx(scale, abs=6e-3)


def test_other_ways_to_resize_and_normalise(tmp_path):
    save('convnext', tmp_path)
    layer = {'target_layers': build('convnext')[2][:1], 'boxes': False}
    with pytest.raises(FeatMapError, match="takes one number, the side of a square; resize='stretch' makes any"):
        draw(tmp_path, input_size=(64, 96), **layer)
    vis = draw(tmp_path, input_size=(64, 96), resize='letterbox', **layer)
    assert vis.extractor.extract(photo(150, 211))[0][0].geometry.scale == pytest.approx((64 / 150,) * 2, abs=1e-2)
    inputs = [
        draw(tmp_path, mean=mean, std=std, **layer).network.prepare([photo(150, 211)]).inputs
        for mean, std in ((0, 1), ((0, 0, 0), (255, 255, 255)), (0.5, 0.25))
    ]
    torch.testing.assert_close(inputs[0], inputs[1])
    torch.testing.assert_close((inputs[0] - 0.5) / 0.25, inputs[2], rtol=1e-4, atol=1e-4)


def test_of_images_and_text_the_part_for_images(tmp_path):
    text = {
        **VIT,
        'vocab_size': 100,
        'max_position_embeddings': 16,
        'eos_token_id': 2,
        'bos_token_id': 0,
        'pad_token_id': 1,
    }
    config = hf.CLIPConfig(
        text_config=text, vision_config={**VIT, 'image_size': 64, 'patch_size': 16}, projection_dim=16
    )
    model = hf.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    processor = hf.CLIPImageProcessor(size={'shortest_edge': 64}, crop_size=square(64))
    processor.save_pretrained(tmp_path)
    vis = draw(tmp_path, target_layers='encoder.layers.1', keep_features=True)
    given = processor(images=Image.fromarray(photo(150, 211)), return_tensors='pt')
    run = lambda: model.vision_model(**given)  # noqa: E731
    plain = hooked(model.vision_model, ['encoder.layers.1'], run)['encoder.layers.1']
    expected = first_tensor(plain)[1:].T.reshape(32, 4, 4)
    torch.testing.assert_close(torch.from_numpy(features(vis)['encoder.layers.1'].features), expected)
    assert not vis.network.weights.unexpected
    assert not vis.network.weights.missing


@pytest.mark.parametrize('how', ['bin', 'shards', 'file', 'config', 'half'])
def test_weights_in_other_forms(how, tmp_path):
    model = tiny_vit(tmp_path)
    expected = features(draw(tmp_path, **LAST))['vit.layers.1'].features
    name, checkpoint = tmp_path, 'pretrained'
    if how == 'bin':
        (tmp_path / 'model.safetensors').unlink()
        torch.save(model.state_dict(), tmp_path / 'pytorch_model.bin')
    if how == 'shards':
        (tmp_path / 'model.safetensors').unlink()
        model.save_pretrained(tmp_path, max_shard_size='30KB')
        assert (tmp_path / 'model.safetensors.index.json').is_file()
    if how == 'file':
        checkpoint = tmp_path / 'model.safetensors'
    if how == 'config':
        name = tmp_path / 'config.json'
    if how == 'half':
        model.half().save_pretrained(tmp_path)
    vis = draw(name, checkpoint, **LAST)
    np.testing.assert_allclose(features(vis)['vit.layers.1'].features, expected, atol=5e-3 if how == 'half' else 1e-6)
    assert {parameter.dtype for parameter in vis.model.parameters()} == {torch.float32}
    assert not vis.network.random_weights
    report = vis.network.weights
    assert (len(report.loaded), report.missing, report.unexpected) == (len(model.state_dict()), (), ())


def test_weights_under_the_names_of_older_versions(tmp_path):
    model = tiny_vit(tmp_path)
    expected = features(draw(tmp_path, **LAST))['vit.layers.1'].features
    config = json.loads((tmp_path / 'config.json').read_text())
    new = {
        '.attention.q_proj.': '.attention.attention.query.', '.attention.k_proj.': '.attention.attention.key.',
        '.attention.v_proj.': '.attention.attention.value.', '.attention.o_proj.': '.attention.output.dense.',
        '.mlp.fc1.': '.intermediate.dense.', '.mlp.fc2.': '.output.dense.', 'vit.layers.': 'vit.encoder.layer.',
    }  # fmt: skip
    old = {}
    for name, tensor in model.state_dict().items():
        for now, before in new.items():
            name = name.replace(now, before)
        old[name] = tensor
    assert 'vit.encoder.layer.0.attention.attention.query.weight' in old, config
    torch.save(old, tmp_path / 'old.pth')
    vis = draw(tmp_path, tmp_path / 'old.pth', **LAST)
    np.testing.assert_allclose(features(vis)['vit.layers.1'].features, expected, atol=1e-6)


def test_a_head_for_other_classes_is_reported(tmp_path):
    tiny_vit(tmp_path)
    five = {'num_labels': 5}
    vis = draw(tmp_path, tmp_path / 'model.safetensors', model_args=five)
    report = vis.network.weights
    assert {(found.name, found.in_checkpoint, found.in_model) for found in report.mismatched} == {
        ('classifier.weight', (3, 32), (5, 32)), ('classifier.bias', (3,), (5,)),
    }  # fmt: skip
    assert vis.network.classes == ()
    torch.save({'a.weight': torch.ones(3)}, tmp_path / 'w.pth')
    with pytest.raises(FeatMapError, match='of another architecture'):
        draw(tmp_path, tmp_path / 'w.pth')


CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
open({mark!r}, 'w').close()

class NetConfig(PretrainedConfig):
    model_type = 'own_net'
    image_size = 32

class Net(PreTrainedModel):
    config_class = NetConfig
    def __init__(self, config):
        super().__init__(config)
        self.conv = torch.nn.Conv2d(3, 4, 4, 4)
        self.post_init()
    def forward(self, pixel_values):
        return self.conv(pixel_values)
"""


def test_code_beside_a_config_is_run_only_where_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_MODULES_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('transformers.dynamic_module_utils.HF_MODULES_CACHE', str(tmp_path / 'cache'))
    folder, mark = tmp_path / 'net', tmp_path / 'ran'
    folder.mkdir()
    (folder / 'net.py').write_text(CODE.format(mark=str(mark)))
    content = {
        'model_type': 'own_net', 'architectures': ['Net'],
        'auto_map': {'AutoConfig': 'net.NetConfig', 'AutoModel': 'net.Net'},
    }  # fmt: skip
    (folder / 'config.json').write_text(json.dumps(content))
    with pytest.raises(FeatMapError, match=r'own Python code, which would be run; .*trust_checkpoint'):
        draw(folder, 'none')
    assert not mark.exists()
    vis = draw(folder, 'none', trust_checkpoint=True, target_layers='conv', input_size=32)
    assert vis.extractor.extract(photo(150, 211))[0][0].shape == (4, 8, 8)
    assert mark.exists()


@pytest.mark.parametrize(
    ('name', 'match'),
    [
        ('bert', 'is a BertModel, which takes input_ids, .*: expected a model of images alone'),
        (
            'vitt',
            r"'hf:vitt' is no folder here, and cannot be had .*LocalEntryNotFoundError|nearest types of model: vit",
        ),
        ('./nothing', "there is no folder 'nothing'"),
        ('videomae', 'pixel_values of .*, such as patches, tiles or a video'),
    ],
)
def test_what_is_refused(name, match, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(FeatMapError, match=match) as caught:
        draw(name, 'none', model_args=dict(BLOCKS)).extractor.extract(photo(150, 211))
    assert '\n' not in str(caught.value)
