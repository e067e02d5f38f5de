from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featmap import visualize
from featmap.errors import ConfigError
from featmap.models.bare import named_input, put_on, type_of, unwrapped

IMAGE = np.zeros((32, 48, 3), np.uint8)
IMAGE[8:16, 32:40] = 255


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))


def as_it_is(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def values(model, layers='1'):
    result = visualize(model, IMAGE, layers, preprocess=as_it_is, device='cpu', channel_reduction='squeeze_mean')
    (found,) = result.maps
    return found.values


def plain(model):
    with torch.no_grad():
        return model(as_it_is(IMAGE)[None]).mean(dim=1).numpy()


def test_what_only_wraps_a_module_is_left_out():
    inner = net()
    assert unwrapped(inner) is inner
    assert unwrapped(nn.DataParallel(nn.DataParallel(inner))) is inner
    assert unwrapped(torch.compile(inner, backend='eager')) is inner
    np.testing.assert_allclose(values(nn.DataParallel(inner)), plain(inner), atol=1e-6)


@pytest.mark.skipif(
    not hasattr(torch.compiler, 'set_stance'), reason='PyTorch cannot be told so; runs with 2.6 and newer'
)
@pytest.mark.parametrize('part', [False, True])
def test_compiled_code_is_run_as_it_was_written(part):
    model = net().eval()
    wanted = plain(model)
    if part:
        model[1] = torch.compile(model[1], backend='eager')
    else:
        model.compile(backend='eager')
    plain(model)  # compiled before there are hooks
    np.testing.assert_allclose(values(model), wanted, atol=1e-6)


def test_torchscript_is_refused():
    with pytest.raises(ConfigError, match=r'^Sequential is TorchScript, .*: expected the Python module'):
        values(torch.jit.script(net()))


def test_a_part_of_torchscript_is_no_hindrance():
    model = net()
    wanted = plain(model)
    scripted = nn.Sequential(model[0], model[1], torch.jit.script(nn.Sequential(nn.Conv2d(4, 2, 1))))
    np.testing.assert_allclose(values(scripted), wanted, atol=1e-6)


def test_a_module_without_numbers():
    with pytest.raises(ConfigError, match=r'^Sequential holds no numbers, for 0\.weight is on the device meta'):
        values(net().to('meta'))


def test_a_module_that_may_not_be_moved():
    class Fixed(nn.Module):
        def to(self, *args, **kwargs):
            raise ValueError('`.to` is not supported for 4-bit models.\nmore')

    with pytest.raises(ConfigError, match=r'^Fixed cannot be put on cpu: `\.to` is not supported for 4-bit models\.$'):
        put_on(Fixed(), torch.device('cpu'))


def _convolves_halves():
    try:
        nn.Conv2d(1, 1, 1).half()(torch.zeros(1, 1, 1, 1, dtype=torch.float16))
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize('kind', [torch.float64, torch.bfloat16, torch.float16])
def test_the_input_has_the_type_of_the_weights(kind):
    model = net()
    if kind == torch.float16 and not _convolves_halves():
        pytest.skip('this PyTorch has no convolution in half precision on a CPU; runs in make test')
    wanted = plain(model)
    assert type_of(model.to(kind)) == kind
    np.testing.assert_allclose(values(model), wanted, atol=0.02)


def test_quantised_weights_are_no_type_of_an_input():
    model = nn.Conv2d(1, 1, 1)
    model.weight = nn.Parameter(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), requires_grad=False)
    assert type_of(model) == torch.float32
    assert type_of(nn.ReLU()) == torch.float32


def test_inputs_that_have_to_be_named():
    class KeywordOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, *, image):
            return self.inner(image)

    class Texts(KeywordOnly):
        def forward(self, input_ids=None, pixel_values=None):
            assert input_ids is None
            return self.inner(pixel_values)

    assert named_input(net()) is None
    for model, name in ((KeywordOnly(), 'image'), (Texts(), 'pixel_values')):
        assert named_input(model) == name
        np.testing.assert_allclose(values(model, 'inner'), plain(model.inner), atol=1e-6)
