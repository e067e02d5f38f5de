"""What tokens and object queries attend to, from an image to its heat: tiny transformers, and DETRs of mmdet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featmap.answers import Answers, RawLayer
from featmap.errors import LayerError, OptionError
from featmap.explaining import Explained, Explaining
from featmap.models.openmmlab.detector import Detector
from featmap.models.protocol import Batch
from featmap.targets.spec import parse_target
from tests.conftest import hooks
from tests.explainer_helpers import Plain

SIDE, WIDTH, HEADS = 8, 8, 2
GRID = (4, 6)
CELLS = GRID[0] * GRID[1]
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


class Attention(nn.Module):
    """Attention as its definition has it, which keeps its weights; or by PyTorch's fused function."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.weights: Tensor | None = None

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        heads = [
            each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (self.q(x), self.k(memory), self.v(memory))
        ]
        if self.fused:
            read = nn.functional.scaled_dot_product_attention(*heads)
        else:
            query, key, value = heads
            self.weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-1)
            self.weights.retain_grad()
            read = self.weights @ value
        return x + self.out(read.transpose(1, 2).flatten(2)).tanh()


class ViT(nn.Module):
    """A class token before 24 patches, or their mean in the end."""

    def __init__(self, fused: bool = True, token: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch_embed = nn.Conv2d(3, WIDTH, SIDE, SIDE)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH)) if token else None
        self.position = nn.Parameter(torch.randn(1, CELLS, WIDTH))
        self.blocks = nn.ModuleList(Attention(fused) for _ in range(3))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.position
        if self.cls_token is not None:
            x = torch.cat([self.cls_token, x], dim=1)
        for block in self.blocks:
            x = block(x, x)
        return self.head(x[:, 0] if self.cls_token is not None else x.mean(dim=1))


class Decoder(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = Attention(fused), Attention(fused)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.cross_attn(self.self_attn(x, x), memory)


class Detr(nn.Module):
    """An encoder and a decoder of two layers; object queries, one class score and a box each."""

    def __init__(self, fused: bool = True, queries: int = 5) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.backbone = nn.Conv2d(3, WIDTH, SIDE, SIDE)
        self.position = nn.Parameter(torch.randn(1, CELLS, WIDTH))
        self.queries = nn.Parameter(torch.randn(1, queries, WIDTH))
        self.encoder = nn.ModuleList(Attention(fused) for _ in range(2))
        self.decoder = nn.ModuleDict({'layers': nn.ModuleList(Decoder(fused) for _ in range(2))})
        self.class_head, self.box_head = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.backbone(x).flatten(2).transpose(1, 2) + self.position
        for layer in self.encoder:
            memory = layer(memory, memory)
        found = self.queries
        for layer in self.decoder['layers']:
            found = layer(found, memory)
        return self.class_head(found), self.box_head(found).sigmoid()


class ByQuery(Plain):
    """Answers with the best class of each query, best first."""

    def _respond(self, batch: Batch, raw: float | None) -> tuple[Answers, ...]:
        logits, boxes = self.model(batch.inputs)
        scores, labels = logits[0].sigmoid().max(dim=1)
        order = scores.argsort(descending=True)
        middle, half = boxes[0][:, :2] * 32, boxes[0][:, 2:] * 8
        return (
            Answers(
                'boxes',
                torch.cat([middle - half, middle + half], 1)[order],
                scores[order],
                labels[order],
                torch.arange(len(order)),
            ),
        )

    def raw_layers(self) -> list[RawLayer]:
        return [RawLayer('class_head', self.model.class_head, 'query')]


def first(output: Tensor) -> Tensor:
    """The target: the logit of class 2."""
    return output[0, 2] if output.ndim == 2 else output[2]


def run(model: nn.Module, method: str, spec=first, layers: tuple[str, ...] = (), network=Plain, **more) -> Explained:
    explained = Explaining(network(model), parse_target(spec), [method], layers, **more)(IMAGE)
    assert hooks(model) == 0
    assert all(each.requires_grad for each in model.parameters())
    return explained


def plane(explained: Explained) -> np.ndarray:
    """The only map of the only explanation, (4, 6), known to be of cells of 8 pixels."""
    (explanation,) = explained.explanations
    (item,) = explanation.maps
    assert (item.stride, item.stride_known, item.values.shape) == ((8, 8), True, (1, *GRID))
    assert explanation.heat.shape == IMAGE.shape[:2]
    return item.values[0]


def share(values: Tensor) -> np.ndarray:
    """A map of 24 values as it is shown: its greatest is 1."""
    return (values / values.max()).reshape(GRID).detach().numpy()


def kept(model: nn.Module, scalar) -> list[tuple[str, Tensor, Tensor]]:
    """Names, weights and gradients of all attention of a model that keeps its weights, in the order of the modules."""
    inputs = torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 255
    scalar(model(inputs)).backward()
    model.zero_grad()
    return [(n, m.weights[0].detach(), m.weights.grad[0]) for n, m in model.named_modules() if isinstance(m, Attention)]


def averaged(weights: Tensor, gradient: Tensor) -> Tensor:
    return (weights * gradient).clamp_min(0).mean(dim=0)


@pytest.mark.parametrize('token', [True, False])
def test_a_classs_relevance_is_rolled_out(token):
    matrices = kept(ViT(fused=False, token=token), first)
    relevance = torch.eye(CELLS + token)
    for _, weights, gradient in matrices:
        relevance = relevance + averaged(weights, gradient) @ relevance
    # Without a class token, the mean over all tokens asks for each of them alike.
    expected = relevance[0, 1:] if token else relevance.mean(dim=0)
    found = run(ViT(token=token), 'generic_attention')
    np.testing.assert_allclose(plane(found), share(expected), rtol=1e-4, atol=1e-6)
    assert found.explanations[0].notes == ('attention of 3 layers',)
    assert found.explanations[0].maps[0].tokens.left_out == token


def test_what_the_class_token_attends_to():
    weights = kept(ViT(fused=False), first)[-1][1]
    found = run(ViT(), 'attention')
    np.testing.assert_allclose(plane(found), share(weights.mean(dim=0)[0, 1:]), rtol=1e-4)
    assert found.explanations[0].maps[0].layer == 'blocks.2'
    assert found.explanations[0].notes == ('the same for all classes',)
    named = run(ViT(), 'attention', layers=('blocks.0',))
    assert named.explanations[0].maps[0].layer == 'blocks.0'
    with pytest.raises(LayerError, match='first comes of the tokens of cells, and of no object query or class token'):
        run(ViT(token=False), 'attention')


def normalised(relevance: Tensor) -> Tensor:
    plain = relevance - torch.eye(len(relevance))
    return plain / plain.sum(dim=1, keepdim=True) + torch.eye(len(relevance))


@pytest.mark.parametrize('rank', [0, 3])
def test_an_object_querys_relevance_over_the_encoders_tokens(rank):
    found = run(Detr(), 'generic_attention', f'box:{rank}', network=ByQuery)
    trace = found.explanations[0].trace
    assert trace.kind == 'query'
    scored = kept(Detr(fused=False), lambda output: output[0][0, trace.query].max().sigmoid().log())
    tokens, queries, across = torch.eye(CELLS), torch.eye(5), torch.zeros(5, CELLS)
    for name, weights, gradient in scored:
        matrix = averaged(weights, gradient)
        if name.startswith('encoder'):
            tokens = tokens + matrix @ tokens
        elif name.endswith('self_attn'):
            queries, across = queries + matrix @ queries, across + matrix @ across
        else:
            # The last self-attention has a part only through the query that is asked for; rows of zeros stay.
            own = queries - torch.eye(5)
            sums = own.sum(dim=1, keepdim=True)
            own = torch.where(sums > 0, own / sums, own) + torch.eye(5)
            across = across + own.T @ matrix @ normalised(tokens)
    np.testing.assert_allclose(plane(found), share(across[trace.query]), rtol=1e-3, atol=1e-5)
    assert found.explanations[0].notes == ('attention of 6 layers',)


def test_what_an_object_query_attends_to():
    found = run(Detr(), 'attention', 'boxes', network=ByQuery)
    assert len(found.explanations) == 5
    (*_, (_, weights, _)) = kept(Detr(fused=False), lambda output: output[0].sum())
    assert sorted(each.trace.query for each in found.explanations) == [0, 1, 2, 3, 4]
    for each in found.explanations:
        assert each.maps[0].layer == 'decoder.layers.1.cross_attn'
        np.testing.assert_allclose(each.maps[0].values[0], share(weights.mean(dim=0)[each.trace.query]), rtol=1e-4)
    layers = run(Detr(), 'attention', 'box:0', layers=('decoder',), network=ByQuery, fuse='none').explanations
    assert [each.maps[0].layer for each in layers] == [f'decoder.layers.{n}.cross_attn' for n in range(2)]


def test_as_many_object_queries_as_cells_are_told_by_names():
    few = run(Detr(queries=CELLS), 'generic_attention', 'box:0', network=ByQuery)
    assert few.explanations[0].notes == ('attention of 6 layers',)
    assert (
        run(Detr(queries=CELLS), 'attention', 'box:0', network=ByQuery)
        .explanations[0]
        .maps[0]
        .layer.endswith('cross_attn')
    )


def test_both_at_once_and_the_gradient_of_a_layer_beside_them():
    methods = ['attention', 'generic_attention', 'layercam']
    explained = Explaining(ByQuery(Detr()), parse_target('box:1'), methods, ['backbone'])(IMAGE)
    assert [each.method for each in explained.explanations] == methods
    alone = run(Detr(), 'generic_attention', 'box:1', network=ByQuery)
    np.testing.assert_allclose(explained.explanations[1].heat, alone.explanations[0].heat, atol=1e-5)


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).mean(dim=(2, 3)))


class Windows(nn.Module):
    """Attention within the two halves of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.attn, self.head = nn.Conv2d(3, WIDTH, SIDE, SIDE), Attention(True), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).unflatten(3, (2, 3)).permute(0, 3, 2, 4, 1).flatten(2, 3)[0]
        return self.head(self.attn(x, x).mean(dim=(0, 1)))[None]


@pytest.mark.parametrize(('model', 'method', 'message'), [
    (Convolutions, 'generic_attention', r'Convolutions computes no softmax\(q kᵀ\) v and no deformable attention'),
    (Convolutions, 'attention', 'the methods attention and generic_attention are for transformers such as ViT'),
    (Windows, 'generic_attention', 'attn attends within 2 windows, each by itself'),
])  # fmt: skip
def test_other_models_are_refused(model, method, message):
    with pytest.raises(LayerError, match=message):
        run(model(), method)


class Untraced(ByQuery):
    """Boxes of which it is not known what raw predictions they are."""

    def raw_layers(self) -> list[RawLayer]:
        return []


@pytest.mark.parametrize('method', ['attention', 'generic_attention'])
def test_which_query_it_is_shows_in_the_gradient(method):
    found, known = (run(Detr(), method, 'box:0', network=each) for each in (Untraced, ByQuery))
    assert found.explanations[0].trace is None
    np.testing.assert_allclose(plane(found), plane(known), atol=1e-6)


class Pooled(ViT):
    """A query that pools the patches, and no class token."""

    def __init__(self) -> None:
        super().__init__(token=False)
        self.probe, self.pool = nn.Parameter(torch.randn(1, 1, WIDTH)), Attention(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.pool(self.probe, x)[:, 0])


def test_what_pools_the_tokens():
    model = Pooled()
    found = run(model, 'attention')
    np.testing.assert_allclose(plane(found), share(model.pool.weights[0, :, 0].mean(dim=0)), rtol=1e-4)
    assert found.explanations[0].notes == ('the same for all classes',)


SMALL = {'model.num_queries': 8, 'model.test_cfg.max_per_img': 8, 'model.encoder.num_layers': 1,
         'model.decoder.num_layers': 2, 'model.backbone.depth': 18}  # fmt: skip
LEVELS = {'model.neck.in_channels': [128, 256, 512]}
RESIZE = 'test_dataloader.dataset.pipeline.1.scale'
FAMILIES = {
    'detr': ('mmdet::detr/detr_r50_8xb2-150e_coco.py', {'model.neck.in_channels': [512], RESIZE: (250, 150)}),
    'deformable': ('mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', {**LEVELS, RESIZE: (250, 150)}),
    'dino': ('mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', {**LEVELS, RESIZE: (250, 150)}),
}


@pytest.fixture(scope='module', params=FAMILIES)
def family(request) -> tuple[str, Detector]:
    config, options = FAMILIES[request.param]
    return request.param, Detector(config, cfg_options={**SMALL, **options}, score_thr=1e-3, device='cpu')


def test_detrs_of_mmdet(family):
    name, detector = family
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    explained = Explaining(detector, parse_target('boxes'), ['attention'])(image)
    assert hooks(detector.model) == 0
    assert len(explained.explanations) == len(explained.detections) == 8
    stride, grid = ((32, 32), (5, 8)) if name == 'detr' else ((8, 8), (19, 32))
    for each in explained.explanations:
        (item,) = each.maps
        assert item.layer == f'decoder.layers.1.cross_attn{".attn" if name == "detr" else ""}'
        assert (item.stride, item.stride_known, item.values.shape) == (stride, True, (1, *grid))
        if name != 'detr':  # offsets are of a few cells as long as nothing has learned: it looks at its box
            assert each.notes == ('128 samples of 4 levels',)
            rows, columns = np.indices(each.heat.shape)
            middle = [(axis * each.heat).sum() / each.heat.sum() for axis in (columns, rows)]
            inside = np.clip(each.box.reshape(2, 2).mean(axis=0), 0, (160, 96))
            assert np.abs(middle - inside).max() < 24
    # Each object query looks elsewhere; one may stand for several classes.
    queries = [each.trace.query for each in explained.explanations]
    heats = [each.heat for each in explained.explanations]
    assert len({heat.tobytes() for heat in heats}) == len(set(queries))
    assert all((one == other).all() for q, one in zip(queries, heats) for r, other in zip(queries, heats) if q == r)


def test_half_precision_reads_the_same_places(family):
    name, detector = family
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    config, options = FAMILIES[name]
    half = Detector(config, cfg_options={**SMALL, **options}, score_thr=1e-3, device='cpu', amp=True)
    one, other = (
        {
            each.trace.query: each.heat
            for each in Explaining(model, parse_target('boxes'), ['attention'])(image).explanations
        }
        for model in (detector, half)
    )
    common = one.keys() & other.keys()
    assert common
    for query in common:
        assert np.corrcoef(one[query].ravel(), other[query].ravel())[0, 1] > 0.98


def test_relevance_in_detrs_of_mmdet(family):
    name, detector = family
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    explain = Explaining(detector, parse_target('box:0'), ['generic_attention'])
    if name != 'detr':
        with pytest.raises(LayerError, match=r'encoder\.layers\.0\.self_attn is deformable attention, which has no'):
            explain(image)
    else:
        first, second = explain(image).explanations[0], explain(image).explanations[0]
        assert first.notes == ('attention of 5 layers',)
        assert (first.maps[0].values.shape, first.maps[0].values.min() > 0) == ((1, 5, 8), True)
        np.testing.assert_array_equal(first.heat, second.heat)
    assert hooks(detector.model) == 0


def test_levels_by_themselves():
    config, options = FAMILIES['dino']
    detector = Detector(config, cfg_options={**SMALL, **options}, score_thr=1e-3, device='cpu')
    image = np.zeros((96, 160, 3), np.uint8)
    explain = Explaining(detector, parse_target('top'), ['attention'], arguments={'attention': {'levels': 'each'}})
    maps = explain(image).explanations[0].maps
    assert [item.path for item in maps] == [f'[level {level}]' for level in range(4)]
    assert [item.stride for item in maps] == [(side, side) for side in (8, 16, 32, 64)]
    with pytest.raises(OptionError, match='expected one of sum, each'):
        Explaining(detector, parse_target('top'), ['attention'], arguments={'attention': {'levels': 'all'}})
