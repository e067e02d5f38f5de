"""What is drawn where no layers are named, on small stand-ins of the families of models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featmap.default_layers import Default, backbone_of, choose
from featmap.errors import LayerError
from featmap.geometry import ImageGeometry
from featmap.inferencer import FeatMapInferencer
from featmap.models.protocol import AnyModel, Batch
from featmap.models.source import ModelSource
from featmap.options import Run
from featmap.registry import MODEL_SOURCES
from featmap.visualizing import visualize
from tests.conftest import hooks


class Plain(AnyModel):
    """A module that is fed with images of one size; it counts its forwards."""

    def __init__(self, model: nn.Module, size: tuple[int, int] = (64, 96)) -> None:
        self.model = model.eval()
        self.size, self.forwards, self.device = size, 0, torch.device('cpu')

    @property
    def provenance(self) -> Mapping[str, str | None]:
        return {}

    def prepare(self, images: Sequence[np.ndarray], contiguous: bool = False, over_input: bool = False) -> Batch:
        scaled = [(image.shape[:2], (self.size[1] / image.shape[1], self.size[0] / image.shape[0])) for image in images]
        inputs = torch.rand(len(images), 3, *self.size)
        return Batch(inputs, tuple(ImageGeometry(shape, self.size, scale) for shape, scale in scaled))

    @torch.no_grad()
    def _predict(self, batch: Batch) -> Any:
        self.forwards += 1
        self.model(batch.inputs)
        return ()


def conv(channels: int, out: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(channels, out, 3, stride, 1)


class TwoBranches(nn.Module):
    """Most of it is not in what is numbered."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb = nn.Sequential(conv(3, 4, 2), nn.ReLU(), conv(4, 8, 2))
        self.depth = nn.Sequential(conv(1, 4, 2), nn.ReLU(), conv(4, 8, 2))
        self.fuse = conv(16, 32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(torch.cat([self.rgb(x), self.depth(x[:, :1])], dim=1))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 2, 1), conv(2, out, stride)
        self.downsample = nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)).relu_() + self.downsample(x)


class ResNet(nn.Module):
    """Stages by name, with a stem and a pooled head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.maxpool = conv(3, 4, 2), nn.BatchNorm2d(4), nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(Bottleneck(4, 4), Bottleneck(4, 4))
        self.layer2 = nn.Sequential(Bottleneck(4, 8, 2), Bottleneck(8, 8))
        self.layer3 = nn.Sequential(Bottleneck(8, 8, 2), Bottleneck(8, 8))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)))
        return self.fc(self.avgpool(self.layer3(self.layer2(self.layer1(x)))).flatten(1))


class Vgg(nn.Module):
    """One flat sequence, whose blocks end in front of a pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 4), nn.ReLU(), nn.MaxPool2d(2), conv(4, 8), nn.ReLU(), conv(8, 8), nn.ReLU(), nn.MaxPool2d(2),
            conv(8, 8), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(8 * 8 * 12, 64), nn.Linear(64, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class ConvNeXt(nn.Module):
    """Stages in a list, and a normalisation of the pooled map."""

    def __init__(self, name: str = 'stages') -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, 4)
        stages = [nn.Sequential(conv(4, 4), conv(4, 4)), nn.Sequential(conv(4, 8, 2)), nn.Sequential(conv(8, 16, 2))]
        setattr(self, name, nn.Sequential(*stages))
        self.name, self.head = name, nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(getattr(self, self.name)(self.stem(x)).mean((2, 3)))


class EfficientNet(nn.Module):
    """Stages of which two have one stride."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = conv(3, 4, 2)
        self.blocks = nn.Sequential(*(nn.Sequential(conv(4, 4, stride)) for stride in (1, 2, 2, 1, 2, 1)))
        self.conv_head = conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_head(self.blocks(self.conv_stem(x)))


class Swin(nn.Module):
    """Stages whose maps have their channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 4, 4)
        self.layers = nn.ModuleList([Merge(8, 16, 1), Merge(16, 32, 2)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x)
        return x.mean((1, 2))


class Merge(nn.Module):
    def __init__(self, channels: int, out: int, step: int) -> None:
        super().__init__()
        self.norm, self.reduction, self.step = nn.LayerNorm(channels), nn.Linear(channels, out), step

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(x[:, :: self.step, :: self.step]))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.attn(self.norm1(x)))


class ViT(nn.Module):
    """Blocks of tokens with a class token before them."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 16, 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.blocks = nn.Sequential(*(Block(8) for _ in range(depth)))
        self.head = nn.Linear(8, 1000)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.head(self.blocks(torch.cat([self.cls_token, tokens], 1))[:, 0])


class TorchvisionViT(ViT):
    """The same under the names of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        layers = OrderedDict((f'encoder_layer_{number}', Block(8)) for number in range(3))
        self.encoder = nn.Module()
        self.encoder.layers = nn.Sequential(layers)
        del self.blocks

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.head(self.encoder.layers(torch.cat([self.cls_token, tokens], 1))[:, 0])  # type: ignore[operator]


class HighResolution(nn.Module):
    """Stages that each hand on maps of all strides so far."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stage1, self.stage2 = conv(3, 4, 4), Split(), Split()
        self.fuse = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(
            torch.cat([each.mean((2, 3), keepdim=True) for each in self.stage2(self.stage1(self.stem(x))[0])], 1)
        )


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv(4, 4), conv(4, 4, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.fine(x), self.coarse(x)]


class Segmenter(nn.Module):
    """An encoder in a wrapper, and a decoder with more parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = ConvNeXt()
        self.decoder = nn.ModuleList([conv(16, 64), conv(64, 64)])

    def forward(self, x: Tensor) -> Tensor:
        encoder: Any = self.model.encoder
        x = encoder.stages(encoder.stem(x))
        for layer in self.decoder:
            x = layer(nn.functional.interpolate(x, scale_factor=2))
        return x


class Unnumbered(nn.Module):
    """No two names that differ in a number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.pool, self.neck = conv(3, 4, 2), conv(4, 4, 2), nn.MaxPool2d(2), conv(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.pool(self.body(self.stem(x)).relu()))


@pytest.mark.parametrize(
    ('model', 'expected'),
    [
        (ResNet(), Default(('layer1', 'layer2', 'layer3'), '3 stages')),
        (Vgg(), Default(('features.1', 'features.6', 'features.9'), '3 stages')),
        (ConvNeXt(), Default(('stages.0', 'stages.1', 'stages.2'), '3 stages')),
        (ConvNeXt('features'), Default(('features.0', 'features.1', 'features.2'), '3 stages')),
        (EfficientNet(), Default(('blocks.0', 'blocks.1', 'blocks.3', 'blocks.5'), '4 stages')),
        (Swin(), Default(('layers.0', 'layers.1'), '2 stages')),
        (ViT(), Default(('blocks.2',), 'last of 3')),
        (TorchvisionViT(), Default(('encoder.layers.encoder_layer_2',), 'last of 3')),
        (HighResolution(), Default(('stage2',), 'last of 2')),
        (Segmenter(), Default(tuple(f'model.encoder.stages.{number}' for number in range(3)), '3 stages')),
        (nn.Sequential(ResNet()), Default(('0.layer1', '0.layer2', '0.layer3'), '3 stages')),
        (Unnumbered(), Default(('stem', 'body'), 'last of each stride')),
        (TwoBranches(), Default(('depth.1', 'depth', 'fuse'), 'last of each stride')),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else '',
)
def test_what_is_chosen(model, expected):
    assert choose(Plain(model)) == expected
    assert hooks(model) == 0


def test_a_backbone_costs_no_forward():
    model = Plain(nn.Sequential(OrderedDict(backbone=ResNet(), neck=nn.Identity())))
    assert choose(model) == Default(('backbone',))
    assert (str(choose(model)), model.forwards) == ('backbone', 0)
    assert str(choose(Plain(ViT()))) == 'blocks.2 (last of 3)'


def test_a_backbone_that_cannot_run_as_a_whole_is_looked_into():
    class Lists(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.ModuleList([conv(3, 4, 2), conv(4, 4, 2)])

        def forward(self, x: Tensor) -> Tensor:
            return self.backbone[1](self.backbone[0](x))

    class Getter(nn.ModuleDict):
        def forward(self, x: Tensor) -> Tensor:
            return self['a'](x)

    assert choose(Plain(Lists())) == Default(('backbone.0', 'backbone.1'), '2 stages')
    assert backbone_of(nn.Sequential(OrderedDict(backbone=Getter({'a': conv(3, 4)})))) == Default(('backbone',))


def test_an_input_that_is_ready_need_not_fit_a_blank_image():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    inputs = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    result = visualize(ResNet(), image, inputs=inputs)
    assert [item.layer for item in result.maps] == ['layer1', 'layer2', 'layer3']
    assert [item.stride for item in result.maps] == [(4, 4), (8, 8), (16, 16)]


def test_a_model_without_a_map():
    with pytest.raises(LayerError, match='none of the 2 layers of the model puts out a map of the image'):
        choose(Plain(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 96, 2))))


class PlainSource(ModelSource):
    """Any of the stand-ins by the name of its class."""

    def open(self, run: Run) -> AnyModel:
        torch.manual_seed(0)
        return Plain(globals()[self.request.name]())


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODEL_SOURCES.module_dict, 'plain', PlainSource)


IMAGE = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)


class TestInferencer:
    def test_draws_what_is_chosen_and_says_what_it_is(self, plain: None) -> None:
        vis = FeatMapInferencer('plain:ResNet', boxes=False)
        assert str(vis.default_layers) == 'layer1 layer2 layer3 (3 stages)'
        assert [item.layer for item in vis(IMAGE).maps] == ['layer1', 'layer2', 'layer3']
        assert vis.record(vis(IMAGE)).provenance['settings']['target_layers'] == ('layer1', 'layer2', 'layer3')

    def test_layers_that_are_named_are_what_is_drawn(self, plain: None) -> None:
        vis = FeatMapInferencer('plain:ViT', boxes=False, target_layers=['blocks.0'])
        assert vis.default_layers is None
        assert vis.network.forwards == 0  # type: ignore[attr-defined]
        assert [item.layer for item in vis(IMAGE).maps] == ['blocks.0']

    def test_further_calls_choose_no_more(self, plain: None) -> None:
        vis = FeatMapInferencer('plain:ViT', boxes=False)
        assert vis.network.forwards == 1  # type: ignore[attr-defined]
        other = vis.with_options(channel_reduction='l2')
        assert [target.name for target in other.targets] == ['blocks.2']
        assert vis.with_options(target_layers='blocks.1').default_layers is None
        assert vis.network.forwards == 1  # type: ignore[attr-defined]
