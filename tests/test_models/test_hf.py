from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from featmap import FeatMapInferencer, visualize
from featmap.errors import CheckpointError, ConfigError, FeatMapError, FeatMapWarning, MissingPackageError

pytestmark = pytest.mark.usefixtures('stand_ins')
VIT = {
    'model_type': 'vit', 'architectures': ['ViTForImageClassification'],
    'id2label': {'0': 'cat', '1': 'dog', '2': 'boat'},
}  # fmt: skip
PROCESSOR = {'image_processor_type': 'ViTImageProcessor', 'size': {'height': 32, 'width': 32}}
IMAGE = np.random.default_rng(0).integers(0, 255, (50, 91, 3), dtype=np.uint8)


def vis(name, checkpoint='none', **options):
    options = {'target_layers': ['patches'], **options}
    return FeatMapInferencer(f'hf:{name}', checkpoint, device='cpu', **options)


def folder(path, config=VIT, processor=PROCESSOR):
    path.mkdir(exist_ok=True)
    (path / 'config.json').write_text(json.dumps(config))
    if processor:
        (path / 'preprocessor_config.json').write_text(json.dumps(processor))
    return path


def weights(seed=1, classes=3):
    import transformers

    torch.manual_seed(seed)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=classes))
    return model.state_dict()


def shape_and_scale(opened):
    geometry = opened.extractor.extract(IMAGE)[0][0].geometry
    return geometry.input_shape, geometry.scale


def test_a_type_of_model_has_random_weights_the_same_each_time():
    torch.manual_seed(7)
    one = vis('vit')
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    other = vis('vit', model_args=['hidden_size=8'])
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters()))
    assert one.network.random_weights
    assert dict(one.network.provenance) == {'config': 'hf:vit', 'checkpoint': None, 'checkpoint_sha256': None}
    assert type(one.model).__name__ == 'ViTModel'
    assert one.extractor.extract(IMAGE)[1] is None
    assert vis('vit', model_args=['hidden_size=6']).extractor.extract(IMAGE)[0][0].shape == (6, 4, 4)


def test_maps_are_those_of_a_plain_hook_in_the_place_of_the_processor(tmp_path):
    crop = {
        **PROCESSOR, 'size': {'shortest_edge': 40}, 'do_center_crop': True, 'crop_size': {'height': 32, 'width': 32}
    }  # fmt: skip
    opened = vis(folder(tmp_path, processor=crop), keep_features=True)
    found = opened.extractor.extract(IMAGE)[0][0]
    from transformers.image_processing import ViTImageProcessor

    given = ViTImageProcessor(**{key: value for key, value in crop.items() if key != 'image_processor_type'})
    with torch.no_grad():
        expected = opened.model.patches(given(images=Image.fromarray(IMAGE), return_tensors='pt')['pixel_values'])[0]
    np.testing.assert_allclose(found.features, expected, rtol=1e-4, atol=1e-5)
    assert found.stride == (8, 8)
    assert np.abs(np.array(found.geometry.scale) - [72 / 91, 40 / 50]).max() < 0.01
    assert np.abs(np.array(found.geometry.offset) - [-20, -4]).max() < 0.5


def test_the_best_classes_have_the_names_of_the_config(tmp_path):
    found = vis(folder(tmp_path)).extractor.extract(IMAGE)[1]
    assert found.classes == ('cat', 'dog', 'boat')
    assert len(found.classification) == 3
    assert vis(tmp_path, classes=['a', 'b', 'c']).network.classes == ('a', 'b', 'c')
    # LABEL_0 is no name; nor do classes belong to a model without a head.
    assert vis(tmp_path, model_args={'num_labels': 2}).network.classes == ()
    assert vis(folder(tmp_path, {**VIT, 'architectures': ['ViTModel']})).network.classes == ()


def test_a_segmenter(tmp_path):
    folder(tmp_path, {**VIT, 'architectures': ['ViTForSemanticSegmentation']})
    found = vis(tmp_path).extractor.extract(IMAGE)[1]
    assert (found.segments.kind, found.segments.numbers.shape) == ('semantic', (50, 91))


@pytest.mark.parametrize('form', ['safetensors', 'bin', 'shards', 'file', 'config.json'])
def test_weights_that_lie_with_the_config(tmp_path, form):
    tensors = weights()
    folder(tmp_path)
    checkpoint, name = 'pretrained', tmp_path
    if form in ('safetensors', 'config.json'):
        save_file(tensors, tmp_path / 'model.safetensors')
        name = tmp_path / form if form == 'config.json' else tmp_path
    elif form == 'bin':
        torch.save(tensors, tmp_path / 'pytorch_model.bin')
    elif form == 'shards':
        for key, tensor in tensors.items():
            save_file({key: tensor}, tmp_path / f'{key}.safetensors')
        index = {'weight_map': {key: f'{key}.safetensors' for key in tensors}}
        (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
    else:
        checkpoint = tmp_path / 'w.pth'
        torch.save({'state_dict': tensors}, checkpoint)
    opened = vis(name, checkpoint)
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in opened.model.state_dict().items())
    assert not opened.network.random_weights
    assert str(tmp_path) in opened.network.provenance['checkpoint']
    assert len(opened.network.provenance['checkpoint_sha256']) == 64


@pytest.mark.parametrize('brief', [True, False])
def test_weights_are_reported_by_the_names_of_the_module(tmp_path, monkeypatch, brief):
    import transformers

    monkeypatch.setattr(transformers.Model, 'BRIEF', brief)
    tensors = weights(classes=5)
    if not brief:
        tensors['old_classifier.weight'] = tensors.pop('classifier.weight')
    del tensors['classifier.bias']
    tensors['more.weight'] = torch.ones(2)
    save_file(tensors, folder(tmp_path) / 'model.safetensors')
    report = vis(tmp_path, 'pretrained').network.weights
    assert report.loaded == ('patches.weight', 'patches.bias')
    assert (report.missing, report.unexpected) == (('classifier.bias',), ('more.weight',))
    assert report.mismatched == (('classifier.weight', (5, 8), (3, 8)),)
    save_file({'a.weight': torch.ones(2)}, tmp_path / 'model.safetensors')
    with pytest.raises(CheckpointError, match='another architecture'):
        vis(tmp_path, 'pretrained')


def test_half_precision_is_not_taken_from_the_weights(tmp_path):
    save_file({key: tensor.bfloat16() for key, tensor in weights().items()}, folder(tmp_path) / 'model.safetensors')
    assert {parameter.dtype for parameter in vis(tmp_path, 'pretrained').model.parameters()} == {torch.float32}


def test_embeddings_are_interpolated_only_for_another_size(tmp_path):
    opened = vis(folder(tmp_path))
    assert opened.extractor.extract(IMAGE)[0][0].shape == (8, 4, 4)
    assert opened.model.interpolated is False
    other = vis(tmp_path, input_size=(48, 40))
    assert other.extractor.extract(IMAGE)[0][0].shape == (8, 6, 5)
    assert other.model.interpolated is True


def test_a_module_that_is_built_already_is_read_by_its_config():
    import transformers

    names = dict(enumerate(('cat', 'dog', 'boat')))
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(id2label=names))
    size = 2 * model.config.image_size  # to which its embeddings are interpolated
    found = visualize(model, IMAGE, 'patches', input_size=size, device='cpu').predictions
    assert found.classes == ('cat', 'dog', 'boat')
    assert len(found.classification) == 3
    detr = transformers.DetrForObjectDetection(transformers.DetrConfig(id2label=names, use_pretrained_backbone=False))
    given = {'preprocess': transformers.image_processing.DetrImageProcessor(), 'target_layers': 'patches'}
    wanted = vis('detr', model_args={'id2label': names}).extractor.extract(IMAGE)[1]
    found = FeatMapInferencer(model=detr, device='cpu', **given).extractor.extract(IMAGE)[1]
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    assert found.class_name(2) == 'boat'


@pytest.mark.parametrize('no_object', [True, False])
@pytest.mark.parametrize('names', [['LABEL_0', 'LABEL_1', 'LABEL_2'], ['cat', 'dog', 'boat']])
def test_boxes_of_object_queries(no_object, names):
    opened = vis('detr', model_args={'id2label': dict(enumerate(names)), 'no_object': no_object})
    (item,), found = opened.extractor.extract(IMAGE)
    assert item.geometry.input_shape == (int(50 * 96 / 91), 96)
    assert found.labels.tolist() == [2]
    assert found.class_name(2) == ('2' if names[0] == 'LABEL_0' else 'boat')
    softmax = math.exp(3) / (math.exp(3) + 1 + 2 * math.exp(-4))
    np.testing.assert_allclose(found.scores, [softmax if no_object else 1 / (1 + math.exp(-3))], rtol=1e-4)
    np.testing.assert_allclose(found.boxes, [[0.4 * 91, 0.1 * 50, 0.6 * 91, 0.4 * 50]], atol=0.5)


def test_boxes_are_shares_of_what_a_mask_shows(monkeypatch):
    import transformers

    kind = transformers.image_processing.DetrImageProcessor
    plain = kind.__call__

    def padded(self, images, return_tensors):
        given = plain(self, images, return_tensors)
        return {name: torch.nn.functional.pad(value, (0, 32, 0, 80)) for name, value in given.items()}

    monkeypatch.setattr(kind, '__call__', padded)
    (item,), found = vis('detr').extractor.extract(IMAGE)
    assert item.geometry.input_shape == (52 + 80, 96 + 32)
    np.testing.assert_allclose(found.boxes, [[0.4 * 91, 0.1 * 50, 0.6 * 91, 0.4 * 50]], atol=0.5)


def test_the_usual_processor_is_of_the_size_of_the_config():
    assert shape_and_scale(vis('vit'))[0] == (32, 32)
    # Not where an image's ratio is kept within limits: those models are of no size.
    assert shape_and_scale(vis('detr'))[0] == (52, 96)


@pytest.mark.parametrize(
    ('settings', 'size', 'expected', 'scale'),
    [
        ({'height': 32, 'width': 32}, (48, 40), (48, 40), (40 / 91, 48 / 50)),
        ({'height': 40, 'width': 40, 'crop': 32}, (64, 48), (64, 48), (60 / 91, 80 / 50)),
        ({'shortest_edge': 40, 'crop': 32}, (48, 48), (48, 48), (109 / 91, 60 / 50)),
        ({'shortest_edge': 32}, (48, 48), (48, 87), (87 / 91, 48 / 50)),
    ],
)
def test_processors_are_asked_for_another_size(tmp_path, settings, size, expected, scale):
    settings = dict(settings)
    crop = settings.pop('crop', None)
    more = {'do_center_crop': True, 'crop_size': {'height': crop, 'width': crop}} if crop else {}
    folder(tmp_path, processor={**PROCESSOR, 'size': settings, **more})
    found = shape_and_scale(vis(tmp_path, input_size=size))
    assert found[0] == expected
    assert found[1] == pytest.approx(scale, abs=0.01)


def test_limits_are_where_an_image_fits_in_whole():
    assert shape_and_scale(vis('detr', input_size=(40, 64)))[0] == (35, 64)


def test_a_square_has_one_side(tmp_path):
    folder(tmp_path, processor={**PROCESSOR, 'size': {'shortest_edge': 32}})
    with pytest.raises(FeatMapError, match=r'input_size=\[48, 64\]: ViTImageProcessor takes one number'):
        vis(tmp_path, input_size=(48, 64))
    assert shape_and_scale(vis(tmp_path, input_size=(48, 64), resize='stretch'))[0] == (48, 64)


def test_mean_and_deviation(tmp_path):
    folder(tmp_path)
    plain, bright, unit = (
        vis(tmp_path, mean=mean, std=std).network.prepare([IMAGE]).inputs
        for mean, std in ((0, 1), ((127.5, 127.5, 0), 255), ((0.5, 0.5, 0), 1))
    )
    torch.testing.assert_close(bright, unit)
    torch.testing.assert_close(plain - torch.tensor([0.5, 0.5, 0])[:, None, None], unit)
    letterboxed = vis(tmp_path, resize='letterbox').network.prepare([IMAGE])
    assert letterboxed.geometries[0].scale == pytest.approx((32 / 91, 32 / 91), abs=0.02)
    # With the processor's own mean and deviation, 0.5 each.
    assert letterboxed.inputs.min() >= -1


def test_without_a_processor_images_are_letterboxed(tmp_path, monkeypatch):
    import transformers

    monkeypatch.delitem(transformers.image_processing.USUAL, 'vit')
    with pytest.warns(FeatMapWarning, match='letterboxed to 32x32'):
        assert shape_and_scale(vis('vit'))[0] == (32, 32)


def test_of_images_and_text_the_part_for_images(tmp_path):
    vision = {'hidden_size': 4}
    opened = vis(folder(tmp_path, {'model_type': 'clip', 'architectures': ['CLIPModel'], 'vision_config': vision}))
    assert type(opened.model).__name__ == 'ViTModel'
    assert opened.extractor.extract(IMAGE)[0][0].shape == (4, 4, 4)
    tensors = {'patches.weight': torch.ones(4, 3, 8, 8), 'patches.bias': torch.zeros(4), 'text_model.a': torch.ones(2)}
    save_file(tensors, tmp_path / 'model.safetensors')
    report = vis(tmp_path, 'pretrained').network.weights
    assert (report.loaded, report.unexpected) == (('patches.weight', 'patches.bias'), ())


def test_the_hub(tmp_path):
    import io

    import huggingface_hub as hub

    file = io.BytesIO()
    torch.save(weights(), file)
    hub.CACHE.append(tmp_path)
    hub.FILES.update({
        'config.json': json.dumps(VIT).encode(), 'preprocessor_config.json': json.dumps(PROCESSOR).encode(),
        'pytorch_model.bin': file.getvalue(), 'net.py': b'', 'model.onnx': b'',
    })  # fmt: skip
    assert vis('someone/vit').network.classes == ('cat', 'dog', 'boat')
    assert sorted(hub.FETCHED) == ['config.json', 'preprocessor_config.json']
    assert not vis('someone/vit', 'pretrained').network.random_weights
    assert set(hub.FETCHED) == {'config.json', 'preprocessor_config.json', 'pytorch_model.bin'}
    # Weights of safetensors are fetched instead, where there are any.
    save_file(weights(), tmp_path / 'w')
    hub.FILES['model.safetensors'] = (tmp_path / 'w').read_bytes()
    hub.FETCHED.clear()
    vis('someone/vit', 'pretrained')
    assert set(hub.FETCHED) == {'config.json', 'preprocessor_config.json', 'model.safetensors'}
    hub.FILES['config.json'] = b'{}'
    with pytest.raises(ConfigError, match='has no model_type'):
        vis('someone/vit')


CODE = {'model_type': 'own', 'auto_map': {'AutoConfig': 'net.Config'}}


@pytest.mark.parametrize(
    ('config', 'match'),
    [
        ({'model_type': 'vitt'}, "transformers 5.0 knows no models of type 'vitt', .*nearest: vit.*--upgrade"),
        (CODE, 'a model of its own Python code, which would be run; .*trust_checkpoint'),
        ({}, 'no config of transformers: it has no model_type'),
        ([], 'no config of transformers: it has no model_type'),
        ({**VIT, 'id2label': 5}, "the config of 'hf:.*' is not understood: AttributeError"),
        ({'model_type': 'bert'}, 'is a BertModel, which takes input_ids, attention_mask: expected a model of images'),
        ({**VIT, 'hidden_size': -1}, 'hf:.* cannot be built: RuntimeError'),
    ],
)
def test_configs_that_are_refused(tmp_path, config, match):
    with pytest.raises(ConfigError, match=match) as caught:
        vis(folder(tmp_path, config))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'checkpoint', 'options', 'match'),
    [
        ('vit', 'none', {'model_args': {'hiden_size': 4}}, "ViTConfig has no 'hiden_size'; nearest: hidden_size"),
        ('vit', 'pretrained', {}, "'hf:vit' is a type of model, of which there are no weights"),
        ('vit', 'w.pth', {}, "'w.pth' does not exist"),
        ('vitt', 'none', {}, r"'hf:vitt' is no folder .* OSError: 404 .*; the nearest types of model: vit"),
        ('a/vit', 'none', {}, r"'hf:a/vit' is no folder here, .* give the folder of a copy$"),
        ('./vit', 'none', {}, "there is no folder 'vit'; expected a folder with config.json"),
        ('a/b/c', 'none', {}, "there is no folder 'a/b/c'"),
    ],
)
def test_names_that_are_refused(tmp_path, monkeypatch, name, checkpoint, options, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FeatMapError, match=match) as caught:
        vis(name, checkpoint, **options)
    assert '\n' not in str(caught.value)


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'has no config\.json: expected a folder'):
        vis(tmp_path)
    (folder(tmp_path) / 'other.bin').touch()
    with pytest.raises(CheckpointError, match=r'has no weights: .*; there is other\.bin, which can be given'):
        vis(tmp_path, 'pretrained')
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json' is no config\.json"):
        vis(tmp_path / 'preprocessor_config.json')
    (tmp_path / 'model.safetensors.index.json').write_text('{"weight_map": [1]}')
    with pytest.raises(CheckpointError, match='is no index of weights: AttributeError'):
        vis(tmp_path, 'pretrained')
    folder(tmp_path, processor={'image_processor_type': 'Nope'})
    with pytest.raises(ConfigError, match=r'the image processor of .* cannot be made: ValueError: .*; preprocess does'):
        vis(tmp_path)
    (tmp_path / 'config.json').write_text('[' * 3)
    with pytest.raises(ConfigError, match='cannot be read: JSONDecodeError'):
        vis(tmp_path)


def test_pickled_weights_are_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / 'ran'), 'w')

    torch.save({'a': Evil()}, folder(tmp_path) / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match='may run code'):
        vis(tmp_path, 'pretrained')
    assert not (tmp_path / 'ran').exists()


def test_what_the_library_prints_is_as_before(tmp_path):
    import transformers

    vis(folder(tmp_path))
    with pytest.raises(ConfigError):
        vis(tmp_path / 'config.jsn')
    assert transformers.utils.STATE == {'verbosity': 30, 'bars': True}


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(sys, 'path', [path for path in sys.path if 'stand_ins' not in path])
    with pytest.raises(
        MissingPackageError, match=r"the model 'hf:vit' needs 'transformers', .*pip install transformers"
    ):
        vis('vit')
