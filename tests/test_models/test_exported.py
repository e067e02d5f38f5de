from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.export
from torch import nn

from featmap import FeatMapInferencer
from featmap.errors import ConfigError

pytestmark = pytest.mark.skipif(
    not hasattr(torch.export, 'unflatten'), reason='this PyTorch cannot unfold exported models; runs in make test'
)
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 4, 2, 1), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(4, 2, 3, 2, 1)

    def forward(self, x):
        return self.head(self.stem(x))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp('exported')
    torch.manual_seed(0)
    model = Net().eval()
    torch.save(model.state_dict(), place / 'weights.pth')
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 32, 48),)), place / 'model.pt2')
    torch.jit.trace(model, torch.zeros(1, 3, 32, 48)).save(str(place / 'traced.pt'))
    (place / 'noise.pt2').write_bytes(b'PK' + bytes(100))
    two = nn.Bilinear(3, 3, 2)
    torch.export.save(torch.export.export(two, (torch.zeros(1, 3), torch.zeros(1, 3))), place / 'two.pt2')
    return place


@pytest.mark.filterwarnings('ignore::FutureWarning')
def test_its_layers_are_those_of_the_model(folder):
    vis = FeatMapInferencer(
        folder / 'model.pt2', target_layers=['stem', 'head'], resize='stretch', trust_checkpoint=True,
        keep_features=True, device='cpu',
    )  # fmt: skip
    maps = vis(IMAGE).maps
    assert [(item.shape, item.stride, item.stride_known) for item in maps] == [
        ((4, 16, 24), (2, 2), True),
        ((2, 8, 12), (4, 4), True),
    ]
    assert maps[0].note == ''
    model = Net()
    model.load_state_dict(torch.load(folder / 'weights.pth', weights_only=True))
    inputs = vis.network.prepare([IMAGE]).inputs
    assert inputs.shape == (1, 3, 32, 48)
    np.testing.assert_allclose(maps[0].features, model.stem(inputs)[0].detach(), atol=1e-6)


@pytest.mark.parametrize(
    ('name', 'trust', 'match'),
    [
        ('model.pt2', False, 'cannot read without running what is in it: trust_checkpoint=True loads it'),
        ('traced.pt', True, 'is of TorchScript, which runs its layers where no hook is called; torch.export.save'),
        ('weights.pth', True, 'holds weights and no model: the config comes first'),
        ('noise.pt2', True, 'is no model: expected a config'),
        ('none.pt2', True, 'there is no file'),
        ('two.pt2', True, 'takes 1×3, 1×3: expected one input'),
    ],
)
@pytest.mark.filterwarnings('ignore::FutureWarning')
def test_files_that_cannot_be_drawn(folder, name, trust, match):
    with pytest.raises(ConfigError, match=match) as caught:
        FeatMapInferencer(folder / name, trust_checkpoint=trust, device='cpu')
    assert '\n' not in str(caught.value)
