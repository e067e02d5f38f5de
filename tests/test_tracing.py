"""The place that a trace finds is where the input really reaches a cell from, whatever a network is made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featmap.geometry import Place
from featmap.layouts import Grid, Layout
from featmap.tracing import PlaceTrace
from tests.conftest import hooks


class Steps(nn.Module):
    """Functions one after the other."""

    def __init__(self, *steps) -> None:
        super().__init__()
        self.steps = steps
        self.parts = nn.ModuleList(step for step in steps if isinstance(step, nn.Module))

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return x


def conv(*args, **kwargs) -> nn.Module:
    """Every tap counts alike, so that the middle of what reaches a cell is the middle of its window."""
    layer = nn.Conv2d(1, 1, *args, bias=False, **kwargs)
    nn.init.ones_(layer.weight)
    return layer


def transposed(*args, **kwargs) -> nn.Module:
    layer = nn.ConvTranspose2d(1, 1, *args, bias=False, **kwargs)
    nn.init.ones_(layer.weight)
    return layer


def mean(x: Tensor) -> Tensor:
    return x.mean(dim=1, keepdim=True)


def focus(x: Tensor) -> Tensor:
    return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], dim=1)


def in_windows(x: Tensor) -> Tensor:
    """As Swin does: channels last, padded, rolled, in windows and back."""
    height, width = x.shape[2:]
    x = x.permute(0, 2, 3, 1)
    x = F.pad(x, (0, 0, 0, -width % 7, 0, -height % 7))
    rows, columns = x.shape[1] // 7, x.shape[2] // 7
    x = torch.roll(x, (-3, -3), (1, 2)).view(1, rows, 7, columns, 7, -1).permute(0, 1, 3, 2, 4, 5).reshape(-1, 49, 1)
    x = F.softmax(torch.zeros(len(x), 49, 49) + 50 * torch.eye(49), dim=-1) @ x
    x = x.view(1, rows, columns, 7, 7, -1).permute(0, 1, 3, 2, 4, 5).reshape(1, rows * 7, columns * 7, -1)
    return torch.roll(x, (3, 3), (1, 2))[:, :height, :width].permute(0, 3, 1, 2).contiguous()


def trace(net: nn.Module, shape: tuple[int, int] = (96, 128)) -> tuple[Tensor, PlaceTrace, Place | None]:
    x = torch.rand(1, 1, *shape)
    tracer = PlaceTrace(net, x)
    with torch.no_grad(), tracer:
        output = net(x)
        return output, tracer, tracer.place(output)


def reached(net: nn.Module, shape: tuple[int, int], cell: tuple[int, int]) -> tuple[float, float]:
    """The mean position (y, x) of the input pixels that a cell depends on, by their gradients."""
    x = torch.zeros(1, 1, *shape, requires_grad=True)
    net(x)[0, 0, cell[0], cell[1]].backward()
    weights = x.grad[0, 0]
    rows, columns = torch.arange(shape[0]) + 0.5, torch.arange(shape[1]) + 0.5
    total = weights.sum()
    return float((weights.sum(1) * rows).sum() / total), float((weights.sum(0) * columns).sum() / total)


NETS = {
    'a convolution': (Steps(conv(3, padding=1)), (1, 1)),
    'stride 2, three times': (Steps(*(conv(3, stride=2, padding=1) for _ in range(3))), (8, 8)),
    'an even stem': (Steps(conv(6, stride=2, padding=2), conv(3, stride=2, padding=1)), (4, 4)),
    'patches': (Steps(conv(16, stride=16)), (16, 16)),
    'oblong': (Steps(conv((3, 5), stride=(2, 1), padding=(1, 2))), (2, 1)),
    'dilated, and padded alike': (Steps(conv(3, dilation=2, padding='same'), conv(3, stride=2)), (2, 2)),
    'unpadded': (Steps(conv(3, stride=2), conv(3), conv(3)), (2, 2)),
    'reflected': (Steps(conv(3, stride=2, padding=1, padding_mode='reflect')), (2, 2)),
    'pools': (Steps(nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1)), (4, 4)),
    'torch.avg_pool2d': (Steps(lambda x: F.avg_pool2d(input=x, kernel_size=3, stride=2, padding=1)), (2, 2)),
    'back up': (Steps(conv(3, stride=2, padding=1), transposed(4, stride=2, padding=1)), (1, 1)),
    'back up, odd': (Steps(nn.AvgPool2d(4), transposed(2, stride=2)), (2, 2)),
    'interpolated': (Steps(nn.AvgPool2d(4), lambda x: F.interpolate(x, scale_factor=2)), (2, 2)),
    'every other pixel': (Steps(lambda x: F.interpolate(x, scale_factor=0.5)), (2, 2)),
    'slices': (Steps(lambda x: x[:, :, 1::2, 2:]), (2, 1)),
    'pixels to channels': (Steps(focus, mean, conv(3, stride=2, padding=1)), (4, 4)),
    'pixels to channels, by PyTorch': (Steps(nn.PixelUnshuffle(4), mean), (4, 4)),
    'channels to pixels': (Steps(conv(4, stride=4), lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2)), (2, 2)),
    'blocks folded by views': (
        Steps(lambda x: x.view(1, 48, 2, 64, 2).permute(0, 2, 4, 1, 3).reshape(1, 4, 48, 64), mean, conv(3, padding=1)),
        (2, 2),
    ),
    'blocks folded by unfold': (
        Steps(lambda x: F.unfold(x, 2, stride=2).transpose(1, 2).mean(2, True).transpose(1, 2).view(1, 1, 48, 64)),
        (2, 2),
    ),
    'windows': (Steps(conv(4, stride=4), in_windows), (4, 4)),
    'padded and cropped': (Steps(lambda x: F.pad(x, (5, 2, 3, 1)), conv(3, stride=2)), (2, 2)),
    'a gate': (Steps(conv(3, stride=2, padding=1), lambda x: x * torch.sigmoid(x.detach().mean((2, 3), True))), (2, 2)),
    'a gate in front': (
        Steps(conv(3, stride=2, padding=1), lambda x: torch.sigmoid(F.adaptive_avg_pool2d(x.detach(), 1)) * x), (2, 2),
    ),
    'in place, and a residual': (Steps(conv(4, stride=2), lambda x: (x.clone().add_(1) + x).relu_()), (2, 2)),
}  # fmt: skip


@pytest.mark.parametrize('name', NETS)
def test_the_middle_of_what_reaches_a_cell(name: str) -> None:
    net, stride = NETS[name]
    output, tracer, place = trace(net)
    assert place is not None
    assert place.grid == tuple(output.shape[2:])
    assert place.stride == tracer.stride(output) == stride
    # Two cells next to each other: where each of two looks at one half, their mean is what the place says.
    row, column = place.grid[0] // 2, place.grid[1] // 2
    cells = [(row + i, column + j) for i in range(2) for j in range(2)]
    found = torch.tensor([reached(net, (96, 128), cell) for cell in cells]).mean(0)
    for index, (axis, cell) in enumerate(((place.rows, row), (place.columns, column))):
        assert (axis.low + axis.high) / 2 + (cell + 1) * axis.step == pytest.approx(float(found[index]), abs=1e-3)
    assert hooks(net) == 0


@pytest.mark.parametrize(
    ('layer', 'shape', 'grid'),
    [
        (nn.MaxPool2d(2, ceil_mode=True), (75, 75), (38, 38)),
        (nn.MaxPool2d(2, return_indices=True), (75, 75), (37, 37)),
        (nn.LPPool2d(2, 2), (75, 75), (37, 37)),
    ],
)
def test_pools_without_a_mean(layer: nn.Module, shape: tuple[int, int], grid: tuple[int, int]) -> None:
    _, _, place = trace(Steps(layer, lambda x: x[0] if isinstance(x, tuple) else x), shape)
    assert (place.grid, place.stride, place.offset) == (grid, (2, 2), (0, 0))


class Tokens(nn.Module):
    """A small ViT: patches of 16 without padding, a class token, positions, an encoder of PyTorch's."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 16, stride=16)
        self.first = nn.Parameter(torch.zeros(1, 1, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first, x], dim=1) + torch.rand(1, 1 + x.shape[1], 8)
        return self.encoder(x if self.encoder.self_attn.batch_first else x.transpose(0, 1))


@pytest.mark.parametrize('batch_first', [True, False])
@pytest.mark.parametrize(('shape', 'grid'), [((300, 300), (18, 18)), ((80, 133), (5, 8))])
def test_tokens_know_their_grid_and_patch_size(
    batch_first: bool, shape: tuple[int, int], grid: tuple[int, int]
) -> None:
    net = Tokens(batch_first)
    x = torch.rand(1, 1, *shape)
    with torch.no_grad(), PlaceTrace(net, x) as tracer:
        tokens = net(x)
        axis = 1 if batch_first else 0
        assert tracer.layout(tokens) == Layout((axis,), (Grid(grid, 1),))
        cells = (tokens if batch_first else tokens.transpose(0, 1))[:, 1:].transpose(1, 2).unflatten(2, grid)
        assert tracer.stride(cells) == (16, 16)
        assert tracer.place(cells).offset == (0, 0)


class Pyramid(nn.Module):
    """Two levels, the coarse one also added to the fine one."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv(3, stride=2, padding=1), conv(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(x)
        coarse = self.coarse(fine)
        return fine + F.interpolate(coarse, size=fine.shape[2:]), coarse


@pytest.mark.parametrize('shape', [(64, 64), (66, 90)])
def test_a_pyramid_knows_between_which_shifts_its_levels_lie(shape: tuple[int, int]) -> None:
    net, x = Pyramid(), torch.rand(1, 1, *shape)
    with torch.no_grad(), PlaceTrace(net, x) as tracer:
        both, coarse = (tracer.place(level) for level in net(x))
    assert (both.stride, coarse.stride) == ((2, 2), (4, 4))
    assert (both.origin, coarse.origin) == ((0, 0), (0, 0))
    assert coarse.offset == (-1.5 / 4, -1.5 / 4)
    assert both.rows.high == -0.5
    assert both.rows.low == pytest.approx(-1.5, abs=1.1 if shape[0] == 66 else 0)


class Elsewhere(nn.Module):
    """A convolution whose inside PyTorch does not see, with or without the settings of one."""

    def __init__(self, settings: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 3, 3))
        if settings:
            self.kernel_size, self.stride, self.padding, self.dilation = (3, 3), (2, 2), 1, 1

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy()[..., ::2, ::2].copy())


def test_a_convolution_of_an_extension_by_its_settings() -> None:
    net = Steps(Elsewhere(settings=True))
    _, _, place = trace(net)
    assert (place.stride, place.offset) == ((2, 2), (-0.25, -0.25))
    assert hooks(net) == 0


def test_where_the_trail_ends_maps_of_the_same_size_are_asked() -> None:
    lost = Steps(Elsewhere(settings=False))
    output, tracer, place = trace(lost)
    assert place is None
    assert tracer.stride(output) is None
    both = Steps(lambda x: (conv(3, stride=2, padding=1)(x), lost(x))[1])
    output, tracer, place = trace(both)
    assert place is None
    assert tracer.stride(output) == (2, 2)


def test_nothing_is_left_behind_after_a_failure_either() -> None:
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError('broken')

    net = Steps(Elsewhere(settings=True), fail)
    x = torch.rand(1, 1, 8, 8)
    with pytest.raises(RuntimeError, match='broken'), torch.no_grad(), PlaceTrace(net, x):
        net(x)
    assert hooks(net) == 0
    assert vars(x) == {}
    assert torch.overrides._get_current_function_mode() is None


def test_values_are_the_same_with_and_without() -> None:
    net = Steps(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4).eval(), nn.SiLU(inplace=True), nn.MaxPool2d(3, 1, 1))
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = net(x)
        with PlaceTrace(net, x):
            found = net(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
