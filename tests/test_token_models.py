"""Small stand-ins of transformers: each cell of their maps is the mean brightness of the patch that it lies over.

Values thus say where a cell belongs, and a wrong grid, order, shift or orientation cannot pass.
"""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import featmap
from featmap.errors import LayerError, OptionError, SourceError
from featmap.layer_tree import measure
from featmap.layers import resolve
from featmap.layouts import Map, maps_of
from featmap.placement import Placement
from featmap.preview import print_layers
from featmap.recorder import ActivationRecorder
from featmap.storage import SavedImage
from featmap.tokens import Tokens
from tests.conftest import hooks


def patches(channels: int, patch: int, stride: int | None = None) -> nn.Conv2d:
    """Each channel the mean of a patch."""
    layer = nn.Conv2d(1, channels, patch, stride or patch)
    nn.init.constant_(layer.weight, 1 / patch**2)
    nn.init.zeros_(layer.bias)
    return layer


def single_keys_are_seen():
    """Whether PyTorch tells who follows of ``x[0]``; before 2.2 it does of ``x[0, 0]`` alone."""
    seen = []

    class Listener(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    row = torch.zeros(1)
    with Listener():
        row[0]
    return bool(seen)


pytestmark = pytest.mark.skipif(
    not single_keys_are_seen(), reason='this PyTorch says nothing of x[0], where the trail ends; runs in make test'
)


class Attention(nn.Module):
    """Heads that each attend to themselves, written out as most are, or by PyTorch's own functions."""

    def __init__(self, channels: int, heads: int, way: str = 'written out') -> None:
        super().__init__()
        self.heads, self.way = heads, way
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.qkv.weight.data = torch.eye(channels).repeat(3, 1)
        self.softmax = nn.Softmax(dim=-1)
        self.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        images, count, channels = x.shape
        qkv = self.qkv(x).reshape(images, count, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        if self.way == 'fused':
            q, k, v = qkv
            q = self.norm(q)
            # Of the values, so that what comes out is known.
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=1e9 * (torch.eye(count) - 1))
        elif self.way == 'einsum':
            q, k, v = qkv.unbind(0)
            weights = self.softmax(torch.einsum('b h i d, b h j d -> b h i j', q, k) + 1e9 * (torch.eye(count) - 1))
            mixed = torch.einsum('bhij,bhjd->bhid', weights, v)
        else:
            q, k, v = qkv[0], qkv[1], qkv[2]
            mixed = self.softmax(q @ k.transpose(-2, -1) + 1e9 * (torch.eye(count) - 1)) @ v
        return mixed.transpose(1, 2).reshape(images, count, channels)


class Vit(nn.Module):
    """Patches, tokens before and after them, and a block."""

    def __init__(self, patch: int = 16, before: int = 1, after: int = 0, way: str = 'written out', heads: int = 2):
        super().__init__()
        self.patch_embed = patches(4, patch)
        self.first = nn.Parameter(torch.full((1, before, 4), -7.0))
        self.last = nn.Parameter(torch.full((1, after, 4), -9.0))
        self.pos_drop = nn.Identity()
        self.attn = Attention(4, heads, way)
        self.block = nn.Identity()
        self.trimmed = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = self.pos_drop(torch.cat([self.first.expand(len(x), -1, -1), x, self.last], dim=1))
        x = self.block((x + self.attn(x)) / 2)
        return self.trimmed(x[:, self.first.shape[1] :])


def run(net: nn.Module, shape: tuple[int, int], names: list[str], extra: int | None = None) -> dict[str, list[Map]]:
    """Maps, by the first and by a later forward, which are the same."""
    x = brightness(shape)
    placement, found = Placement(net), []
    for _ in range(2):

        def consume(target, output):
            maps = maps_of(output, shape, 1, (), target.name, placement.layouts_of(target), extra)
            return [(placement.cells(target, item), item) for item in maps]

        recorder = ActivationRecorder(net, resolve(net, names), consume)
        with torch.no_grad(), placement.watched(x, recorder.calls), recorder:
            net(x)
        found.append({record.target.name: record.value for record in recorder.records})
    assert hooks(net) == 0
    for name, items in found[0].items():
        for (cells, item), (later_cells, later) in zip(items, found[1][name]):
            assert (cells, item.path, item.tokens) == (later_cells, later.path, later.tokens)
            assert torch.equal(item.features, later.features)
        assert all(cells.known for cells, _ in items), name
    return {name: [item for _, item in items] for name, items in found[0].items()}


def brightness(shape: tuple[int, int]) -> Tensor:
    """No two patches alike, nor their columns and rows exchanged."""
    rows, columns = torch.arange(shape[0]).view(-1, 1), torch.arange(shape[1]).view(1, -1)
    return (rows / 10 + columns**2 / 1000).view(1, 1, *shape).float()


def means(shape: tuple[int, int], patch: int, channels: int) -> Tensor:
    return F.avg_pool2d(brightness(shape), patch).expand(1, channels, -1, -1)


def check(item: Map, shape: tuple[int, int], patch: int, channels: int = 4) -> None:
    torch.testing.assert_close(item.features, means(shape, patch, channels))


SHAPES = [(64, 96), (64, 64), (70, 130)]


@pytest.mark.parametrize('way', ['written out', 'fused', 'einsum'])
@pytest.mark.parametrize(('before', 'after'), [(0, 0), (1, 0), (9, 0), (1, 10), (0, 3)])
@pytest.mark.parametrize('shape', SHAPES)
def test_tokens_lie_over_their_patches(shape: tuple[int, int], before: int, after: int, way: str) -> None:
    found = run(Vit(16, before, after, way), shape, ['patch_embed', 'pos_drop', 'attn', 'block', 'trimmed'])
    cells = (shape[0] // 16) * (shape[1] // 16)
    for name, items in found.items():
        assert len(items) == 1
        check(items[0], shape, 16)
        left = {'patch_embed': None, 'trimmed': after}.get(name, before + after)
        assert items[0].tokens == (None if left is None else Tokens(cells + left, left)), name


def test_heads_of_tokens_are_channels_of_one_map() -> None:
    shape = (64, 64)  # 16 tokens
    found = run(Vit(16, 0, way='fused'), shape, ['attn.norm'])
    check(found['attn.norm'][0], shape, 16)
    # As many channels a head as tokens: no attention, for its rows do not sum to 1.
    net = Vit(32, 0, way='fused')  # 4 tokens
    net.attn.heads = 1
    check(run(net, shape, ['attn.norm'])['attn.norm'][0], shape, 32)


def test_attention_is_refused_and_no_map() -> None:
    for way in ('written out', 'einsum'):
        with pytest.raises(LayerError, match=r'\(1, 2, 17, 17\): attention between 17 tokens'):
            run(Vit(way=way), (64, 64), ['attn.softmax'])


class Joined(nn.Module):
    """Levels one after another, coarse to fine, as encoders of deformable DETRs have them."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse, self.encoder = patches(4, 8), patches(4, 24), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        levels = [level.flatten(2).transpose(1, 2) for level in (self.coarse(x), self.fine(x))]
        return self.encoder(torch.cat(levels, 1) + torch.zeros(1, 1, 4))


def test_levels_of_any_size_and_order_are_told_apart() -> None:
    items = run(Joined(), (72, 96), ['encoder'])['encoder']
    assert [item.path for item in items] == ['[level 0]', '[level 1]']
    assert {item.tokens for item in items} == {Tokens(3 * 4 + 9 * 12)}
    check(items[0], (72, 96), 24)
    check(items[1], (72, 96), 8)


class Cut(nn.Module):
    """Patches by views alone: ``c (h p) (w q) -> (h w) (p q c)``."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.block = nn.Linear(64, 5, bias=False), nn.Identity()
        nn.init.constant_(self.mean.weight, 1 / 64)

    def forward(self, x: Tensor) -> Tensor:
        images, _, height, width = x.shape
        x = x.view(images, 1, height // 8, 8, width // 8, 8).permute(0, 2, 4, 3, 5, 1)
        x = self.mean(x.reshape(images, (height // 8) * (width // 8), 64))
        return self.block(x)


def test_patches_that_views_make() -> None:
    (item,) = run(Cut(), (64, 96), ['block'])['block']
    check(item, (64, 96), 8, 5)
    assert item.tokens == Tokens(96)


class Windows(nn.Module):
    """Swin's way: channels last, shifted windows of 4×4 and back, then every second cell by reshaping."""

    def __init__(self, channels: int, shift: int) -> None:
        super().__init__()
        self.shift, self.embed = shift, patches(channels, 4)
        self.stage, self.part, self.attn = nn.Identity(), nn.Identity(), Attention(channels, 2)
        self.out, self.merged = nn.Identity(), nn.Linear(4 * channels, channels, bias=False)
        self.merged.weight.data = torch.eye(channels).repeat(1, 4) / 4

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(self.embed(x).permute(0, 2, 3, 1))
        images, height, width, channels = x.shape
        y = F.pad(x, (0, 0, 0, -width % 4, 0, -height % 4)).roll((-self.shift, -self.shift), (1, 2))
        rows, columns = y.shape[1] // 4, y.shape[2] // 4
        y = y.view(images, rows, 4, columns, 4, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, 4, channels)
        y = self.attn(self.part(y).view(-1, 16, channels))
        y = y.view(images, rows, columns, 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
        y = y.reshape(images, rows * 4, columns * 4, channels).roll((self.shift, self.shift), (1, 2))
        y = self.out(y[:, :height, :width].contiguous())
        y = y.reshape(images, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 2, 4, 5).flatten(3)
        return self.merged(y)


@pytest.mark.parametrize('shift', [0, 2])
@pytest.mark.parametrize(
    ('shape', 'channels'),
    [((64, 64), 16), ((64, 96), 16), ((64, 96), 24), ((40, 72), 10)],  # as many channels as rows, or as columns
)
def test_channels_last_are_told_by_what_ran(shape: tuple[int, int], channels: int, shift: int) -> None:
    found = run(Windows(channels, shift), shape, ['stage', 'out', 'merged'])
    for name, patch in (('stage', 4), ('out', 4), ('merged', 8)):
        check(found[name][0], shape, patch, channels)
        assert found[name][0].tokens is None


@pytest.mark.parametrize('layer', ['part', 'attn', 'attn.qkv', 'attn.softmax'])
def test_windows_are_refused_and_what_is_around_them_is_named(layer: str) -> None:
    net = nn.Sequential()
    net.add_module('block', Windows(16, 2))
    with pytest.raises(LayerError, match=r'16 windows of 4×4 cells, each by itself and not one map') as caught:
        run(net, (64, 64), [f'block.{layer}'])
    assert str(caught.value).endswith('; take block instead')


class ChannelsLastBlock(nn.Module):
    """ConvNeXt's: a convolution, then layers on channels that come last, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed, self.norm = patches(channels, 4), nn.Identity()
        self.grow = nn.Linear(channels, 2 * channels, bias=False)
        nn.init.zeros_(self.grow.weight)
        self.grow.weight.data[:, 0] = 1

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return x + self.grow(self.norm(x.permute(0, 2, 3, 1)))[..., : x.shape[1]].permute(0, 3, 1, 2)


def test_a_block_whose_middle_has_channels_last() -> None:
    found = run(nn.Sequential(ChannelsLastBlock(16)), (64, 64), ['0.norm', '0.grow'])
    check(found['0.norm'][0], (64, 64), 4, 16)
    check(found['0.grow'][0], (64, 64), 4, 32)


def test_tokens_of_another_order_of_axes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.last, self.first = patches(6, 8), nn.Identity(), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            x = self.last(self.embed(x).flatten(2))  # (N, C, L)
            return self.first(x.permute(2, 0, 1))  # (L, N, C)

    found = run(Net(), (24, 48), ['last', 'first'])
    for items in found.values():
        check(items[0], (24, 48), 8, 6)


class Unrolled(nn.Module):
    """Hiera's way: tokens of a window one after another, and pooling over the windows' inner cells."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.pooled, self.last = patches(4, 8), nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        images, channels, height, width = x.shape
        x = x.view(images, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 2, 4, 1)
        x = self.block(x.reshape(images, height * width, channels))
        x = self.pooled(x.view(images, 4, height * width // 4, channels).mean(dim=1))
        return self.last(x.view(images, -1, channels).max(dim=-1, keepdim=True).values)


def test_tokens_in_the_order_of_windows_are_put_back() -> None:
    shape = (48, 80)
    found = run(Unrolled(), shape, ['block', 'pooled', 'last'])
    check(found['block'][0], shape, 8)
    check(found['pooled'][0], shape, 16)
    check(found['last'][0], shape, 16, 1)
    assert found['block'][0].tokens == Tokens(60)


class WindowsApart(nn.Module):
    """Windows on axes of their own: (N, rows, columns, 2, 3, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attn = patches(4, 4), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).permute(0, 2, 3, 1)
        images, height, width, channels = x.shape
        return self.attn(x.view(images, height // 2, 2, width // 3, 3, channels).transpose(2, 3))


def test_windows_on_axes_of_their_own() -> None:
    with pytest.raises(LayerError, match='16 windows of 2×3 cells'):
        run(WindowsApart(), (32, 48), ['attn'])


class Masked(nn.Module):
    """As in a masked autoencoder: tokens picked by a permutation that no one can see."""

    def __init__(self, keep: int) -> None:
        super().__init__()
        self.embed, self.keep, self.block, self.picked = patches(4, 16), keep, nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))[: self.keep]
        picked = torch.gather(x, 1, order.view(1, -1, 1).expand(-1, -1, 4))
        self.picked(x[:, order])
        return self.block(torch.cat([torch.zeros(1, 1, 4), picked], dim=1) + torch.zeros(4))


@pytest.mark.parametrize('keep', [24, 6])  # all of 4x6, or as many as 2x3 would be
@pytest.mark.parametrize('layer', ['block', 'picked'])
def test_tokens_in_an_unknown_order_are_refused(layer: str, keep: int) -> None:
    with pytest.raises(LayerError, match='tokens that are no cells, or in an unknown order'):
        run(Masked(keep), (64, 96), [layer])


class Asking(nn.Module):
    """Six object queries, as many as cells of 32 pixels, ask 24 cells, by PyTorch's functions or written out."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.embed, self.way, self.queries = patches(4, 16), way, nn.Parameter(torch.randn(1, 6, 4))
        self.many = nn.MultiheadAttention(4, 2, batch_first=True)
        self.answer, self.cells = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        cells = self.cells(self.embed(x).flatten(2).transpose(1, 2))
        if self.way == 'module':
            answer = self.many(self.queries, cells, cells)[0]
        elif self.way == 'function':
            answer = F.scaled_dot_product_attention(self.queries[:, None], cells[:, None], cells[:, None])[:, 0]
        else:
            answer = (self.queries @ cells.transpose(1, 2)).softmax(-1) @ cells
        states = torch.stack([self.queries, F.layer_norm(self.queries + answer, (4,))])
        return self.answer(states[1])


@pytest.mark.parametrize('way', ['module', 'function', 'written out'])
def test_object_queries_are_no_cells_however_many_there_are(way: str) -> None:
    net, shape = Asking(way), (64, 96)
    check(run(net, shape, ['cells'])['cells'][0], shape, 16)
    with pytest.raises(LayerError, match=r'\(1, 6, 4\): tokens that are no cells'):
        run(net, shape, ['answer'])


def test_channels_that_attend_to_channels() -> None:
    class Across(nn.Module):
        """Cross-covariance attention: the rows of the product are channels, its columns cells."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = patches(4, 16), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x).flatten(2)
            weights = (x @ x.transpose(1, 2)).softmax(-1)
            return self.out((weights @ x).transpose(1, 2))

    (item,) = run(Across(), (64, 96), ['out'])['out']
    check(item, (64, 96), 16)


def test_a_map_without_an_axis_of_channels() -> None:
    net = nn.Sequential(patches(1, 8), nn.Flatten(0, 1), nn.Identity())
    (item,) = run(net, (64, 96), ['2'])['2']
    check(item, (64, 96), 8, 1)
    assert item.tokens is None


class TestByHand:
    def test_where_the_grid_is_known(self) -> None:
        net = Vit(16, before=2)
        (item,) = run(net, (64, 96), ['block'], extra=2)['block']
        check(item, (64, 96), 16)
        (item,) = run(net, (64, 96), ['block'], extra=1)['block']
        assert item.features[0, 0, 0, 0] == -7
        assert item.tokens == Tokens(26, 2)

    def test_tokens_that_are_just_a_grid_have_none_before_it(self) -> None:
        (item,) = run(Vit(16, before=1), (64, 96), ['trimmed'], extra=1)['trimmed']
        check(item, (64, 96), 16)

    def test_too_many(self) -> None:
        with pytest.raises(LayerError, match='26 tokens without the 3 of extra_tokens are fewer than the grid of 4×6'):
            run(Vit(16, before=2), (64, 96), ['block'], extra=3)

    def test_where_numbers_alone_tell(self) -> None:
        tokens = torch.arange(24 + 7.0).view(1, -1, 1)
        with pytest.raises(LayerError, match='31 tokens fit no grid over an input of 64x96; where some stand before'):
            maps_of(tokens, (64, 96))
        (item,) = maps_of(tokens, (64, 96), extra_tokens=7)
        assert torch.equal(item.features[0, 0], torch.arange(7.0, 31).view(4, 6))
        assert item.tokens == Tokens(31, 7, known=False)
        with pytest.raises(LayerError, match='23 tokens, those of extra_tokens left out, fit no grid'):
            maps_of(tokens, (64, 96), extra_tokens=8)


class Grey(nn.Module):
    """For images in colour."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = Vit(16, before=1, after=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.vit(x.mean(1, keepdim=True))


class TestWhatIsSaid:
    """In labels, saved maps and the layer tree."""

    @pytest.fixture(scope='class')
    def inferencer(self) -> featmap.FeatMapInferencer:
        layers = ('vit.block', 'vit.patch_embed')
        return featmap.FeatMapInferencer(
            model=Grey(), input_size=(64, 96), target_layers=layers, channel_reduction='squeeze_mean', device='cpu'
        )

    def test_labels(self, inferencer) -> None:
        image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        result = inferencer(image)
        assert [item.tokens for item in result.maps] == [Tokens(27, 3), None]
        labels = [panel.label for panel in result.rendering.panels]
        assert '4×4×6 · stride 16 · tokens 4×6 of 27, 3 left out' in labels[1]
        assert 'tokens' not in labels[2]

    def test_saved_maps(self, inferencer, tmp_path) -> None:
        result = inferencer(np.full((64, 96, 3), 9, np.uint8))
        path = featmap.save_maps(tmp_path / 'maps.npz', SavedImage('a.png', '', (64, 96), result.maps))
        assert [item.tokens for item in featmap.load_maps(path).maps] == [Tokens(27, 3), None]
        sidecar = path.with_name('maps.npz.json')
        content = json.loads(sidecar.read_text(encoding='utf-8'))
        assert content['maps'][0]['tokens'] == {'count': 27, 'left_out': 3, 'known': True}
        for entry in content['maps']:
            del entry['tokens']  # as older files have it
        sidecar.write_text(json.dumps(content), encoding='utf-8')
        assert featmap.load_maps(path).maps[0].tokens is None
        content['maps'][0]['tokens'] = {'count': 27, 'left_out': -3, 'known': True}
        sidecar.write_text(json.dumps(content), encoding='utf-8')
        with pytest.raises(SourceError, match='left_out'):
            featmap.load_maps(path)

    def test_the_layer_tree(self, inferencer) -> None:
        layers, _ = measure(inferencer.network, np.zeros((64, 96, 3), np.uint8))
        stream = io.StringIO()
        print_layers(layers, Console(file=stream, width=200))
        line = next(line for line in stream.getvalue().splitlines() if ' vit.block ' in line)
        assert '4×4×6 (tokens 4×6 of 27, 3 left out)' in line


def test_extra_tokens_without_tokens_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 8, 8))
    with pytest.raises(OptionError, match=r'^extra_tokens=3 has no effect on 0: it goes with layers that put out'):
        featmap.visualize(model, np.zeros((64, 64, 3), np.uint8), '0', input_size=64, extra_tokens=3, device='cpu')
