from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featmap import FeatMapInferencer
from featmap.errors import ConfigError, DrawError, OptionError, SourceError
from featmap.extractor import MapExtractor
from featmap.gradients import GradientRecorder
from featmap.models.network import Network
from featmap.models.outputs import OutputReader
from featmap.models.preprocessing import Declared, Preprocessing

CPU = torch.device('cpu')
IMAGE = np.zeros((40, 80, 3), np.uint8)


class Answering(nn.Module):
    """Puts out what it was made with, and keeps what it was given."""

    def __init__(self, answer=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, 2, 1)
        self.answer, self.given = answer, {}

    def forward(self, pixels, mask=None, deep=False):
        self.given = {'pixels': pixels, 'mask': mask, 'deep': deep}
        self.conv(pixels)
        return self.answer


class Viewing(nn.Module):
    """Cannot take channels last in memory."""

    def forward(self, x):
        return x.view(x.shape[0], -1).sum(dim=1, keepdim=True)


def network(model, preprocessing=None, classes=(), **options):
    preprocessing = preprocessing or Preprocessing(Declared(32))
    return Network(model, preprocessing, OutputReader(classes, task='classification'), device=CPU, **options)


def test_a_batch_and_where_its_images_lie():
    batch = network(Answering()).prepare([IMAGE, np.zeros((32, 32, 3), np.uint8)])
    assert batch.inputs.shape == (2, 3, 32, 32)
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    assert network(Answering()).prepare([IMAGE], contiguous=True).inputs.is_contiguous()
    assert [place.scale for place in batch.geometries] == [(0.4, 0.4), (1.0, 1.0)]
    assert batch.geometries[0].offset == (0, 8)


def test_images_that_come_out_unlike():
    as_it_is = Preprocessing(lambda image: torch.from_numpy(image).permute(2, 0, 1).float())
    with pytest.raises(SourceError, match=r'come out in several sizes: \[\(3, 32, 32\), \(3, 40, 80\)\]'):
        network(Answering(), as_it_is).prepare([IMAGE, np.zeros((32, 32, 3), np.uint8)])


def test_what_is_found_is_read():
    found = network(Answering(torch.tensor([[0.0, np.log(3.0)]])), classes=('cat', 'dog'))
    (best,) = found.predict(found.prepare([IMAGE]))
    assert best.classification.labels.tolist() == [1, 0]
    np.testing.assert_allclose(best.classification.scores, [0.75, 0.25], rtol=1e-6)


def test_an_output_that_is_not_known_is_none():
    silent = network(Answering('what?'))
    assert silent.predict(silent.prepare([IMAGE])) is None


def test_arguments_of_the_forward():
    masked = Preprocessing(
        lambda image: {
            'pixel_values': torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None],
            'mask': torch.ones(1, 40, 80),
            'unknown': torch.ones(1),
        }
    )
    model = Answering()
    named = network(model, masked, argument='pixels', settings={'deep': True})
    named.predict(named.prepare([IMAGE]))
    assert model.given['mask'].shape == (1, 40, 80)
    assert model.given['deep'] is True
    assert model.given['pixels'].shape == (1, 3, 40, 80)


def test_a_layer_that_wants_the_default_layout():
    shy = network(Viewing())
    batch = shy.prepare([IMAGE])
    assert not batch.inputs.is_contiguous()
    assert shy.predict(batch) is not None
    assert shy.prepare([IMAGE]).inputs.is_contiguous()


def test_half_precision():
    model = Answering()
    kinds = []
    model.conv.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    for amp in (False, True):
        half = network(model, amp=amp)
        half.predict(half.prepare([IMAGE]))
    assert kinds == [torch.float32, torch.bfloat16]


def test_an_error_of_the_forward_says_what_it_was_given():
    class Failing(nn.Module):
        def forward(self, x):
            raise AssertionError("Input height (32) doesn't match model (224).\nmore")

    failing = network(Failing())
    with pytest.raises(
        ConfigError, match=r'^Failing cannot take an input of 3×32×32: AssertionError: Input.*\(224\)\.; '
    ):
        failing.predict(failing.prepare([IMAGE]))


def test_weights_go_into_the_model(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 2, 1))
    torch.save(
        {'model': {f'module.{name}': value + 1 for name, value in model.state_dict().items()}}, tmp_path / 'w.pth'
    )
    before = model[0].weight.detach().clone()
    vis = FeatMapInferencer(None, tmp_path / 'w.pth', model=model, target_layers='0', input_size=16)
    assert torch.equal(vis.model[0].weight, before + 1)
    assert vis.network.weights.loaded == ('0.weight', '0.bias')
    assert vis.network.provenance['checkpoint'] == str(tmp_path / 'w.pth')
    assert not vis.network.random_weights


class TestMemory:
    def test_it_stays_where_it_is_and_says_whose_weights(self):
        vis = FeatMapInferencer(model=Answering(), target_layers='conv', input_size=(32, 64))
        result = vis(IMAGE)
        assert result.predictions is None
        assert result.maps[0].shape == (2, 16, 32)
        assert 'random' not in result.rendering.panels[1].label
        assert vis.network.provenance['config'] == 'Answering'

    @pytest.mark.filterwarnings('error')
    def test_a_size_that_the_model_knows(self):
        model = Answering()
        model.image_size = 48
        assert FeatMapInferencer(model=model, target_layers='conv', resize='stretch')(IMAGE).maps[0].shape == (
            2,
            24,
            24,
        )

    def test_what_is_taken_for_granted_is_said(self):
        with pytest.warns(UserWarning, match='letterboxed to 224x224 .* preprocess, input_size, .* say'):
            FeatMapInferencer(model=Answering(), target_layers='conv')

    def test_names_of_classes(self):
        model = Answering(torch.tensor([[2.0, 1.0]]))
        model.names = {0: 'cat', 1: 'dog'}
        vis = FeatMapInferencer(model=model, target_layers='conv', input_size=16)
        assert vis(IMAGE).predictions.classification.labels.tolist() == [0, 1]
        named = FeatMapInferencer(model=model, target_layers='conv', input_size=16, classes=['a', 'b'])
        assert named(IMAGE).predictions.classes == ('a', 'b')

    def test_arguments_are_for_factories(self):
        with pytest.raises(OptionError, match='model_args has no effect on a module that is built already'):
            FeatMapInferencer(model=Answering(), model_args={'width': 3})


def test_a_forward_that_writes_into_its_input_is_run_again_on_the_input_as_it_was():
    class Writing(nn.Module):
        """Cannot take channels last in memory, and has written into its input by then."""

        def forward(self, x):
            return x.add_(1).view(x.shape[0], -1).sum(dim=1, keepdim=True)

    model = Writing()
    writing = network(model)
    batch = writing.prepare([IMAGE])
    wanted = batch.inputs + 1
    given = []
    model.register_forward_hook(lambda module, inputs, output: given.append(inputs[0]))
    writing.predict(batch)
    assert len(given) == 1
    torch.testing.assert_close(given[0], wanted)


def test_the_input_is_copied_until_a_forward_has_taken_its_layout():
    model = Answering(torch.zeros(1, 2))
    made = network(model, classes=('cat', 'dog'))
    batch = made.prepare([IMAGE])
    same = []
    for _ in range(3):
        made.predict(batch)
        same.append(model.given['pixels'].data_ptr() == batch.inputs.data_ptr())
    assert same == [False, True, True]


def test_maps_are_calibrated_on_the_input_as_it_was():
    class Net(nn.Module):
        """Writes into its input, or does the same to a copy."""

        def __init__(self, writes):
            super().__init__()
            torch.manual_seed(0)
            self.writes, self.conv = writes, nn.Conv2d(3, 8, 3, 2, 1)

        def forward(self, x):
            return self.conv((x if self.writes else x.clone()).sub_(0.5).abs_())

    image = np.random.default_rng(0).integers(0, 255, (40, 64, 3), np.uint8)
    offsets = [
        FeatMapInferencer(
            model=Net(writes), input_size=64, target_layers='conv', placement='calibrated', device='cpu'
        )(image).maps[0].offset
        for writes in (False, True)
    ]  # fmt: skip
    assert offsets[0] == offsets[1] != (0, 0)


def test_a_reducer_that_fails_is_named_and_not_the_model():
    def mine(features, weights):
        raise ValueError('no axis 7\nmore')

    made = MapExtractor(network(nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1))), ['0'], mine, 'mine')
    with pytest.raises(DrawError, match=r'^0: the reducer mine failed: ValueError: no axis 7$'):
        made.extract(IMAGE)


def test_a_reducer_that_wants_the_default_layout():
    def flat(features, weights):
        return features.view(features.shape[0], -1).sum(0).view(features.shape[1:])

    made = MapExtractor(network(nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1))), ['0'], flat, 'flat')
    (found,) = made.extract(IMAGE)[0]
    assert found.values.shape == (1, 16, 16)


class Scoring(nn.Module):
    """Scores two classes by a convolution that has parameters."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 4, 4)

    def forward(self, pixels, mask=None):
        self.mask = mask
        return self.conv(pixels).mean(dim=(2, 3))


def test_answers_are_joined_to_what_they_come_from():
    model = Scoring()
    asked = network(model, classes=('cat', 'dog'))
    recorder = GradientRecorder(model, ['conv'])
    with torch.enable_grad():
        answers = asked.respond(asked.prepare([IMAGE]), recorder)[0]
    found = asked.predict(asked.prepare([IMAGE]))[0]
    best = found.classification
    assert answers.detections.classification.labels.tolist() == best.labels.tolist()
    np.testing.assert_allclose(answers.logits.softmax(dim=0).detach()[best.labels], best.scores, rtol=1e-6)
    gradient = recorder.gradients(answers.logits[1])[0]['']
    torch.testing.assert_close(gradient[0, 1], torch.full((8, 8), 1 / 64))
    assert not gradient[0, 0].any()
    assert all(each.requires_grad and each.grad is None for each in model.parameters())
    with torch.no_grad():
        assert not asked.respond(asked.prepare([IMAGE]))[0].logits.requires_grad


def test_other_forms_of_an_image_are_given_what_goes_with_it():
    masked = Preprocessing(
        lambda image: {
            'pixel_values': torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None],
            'mask': torch.arange(3.0)[None],
        }
    )
    model = Scoring()
    asked = network(model, masked)
    batch = asked.prepare([IMAGE])
    both = batch.repeated(torch.cat([batch.inputs, batch.inputs + 1]))
    with torch.no_grad():
        first, second = asked.respond(both)
    assert model.mask.tolist() == [[0, 1, 2]] * 2
    torch.testing.assert_close(first.logits, asked.respond(batch)[0].logits.detach())
    assert not torch.allclose(first.logits, second.logits)
    assert second.output.shape == (1, 2)
