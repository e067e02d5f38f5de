"""Tiny transformers whose attention is known by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE = 8  # pixels of a patch


def table(rows: int, keys: int, heads: int = 2) -> Tensor:
    """Logits (heads, rows, keys) whose softmax is :func:`share`."""
    counts = 1 + (torch.arange(keys)[None, None] + torch.arange(rows)[None, :, None] * 3) % keys
    return (counts.expand(heads, -1, -1) * torch.ones(heads, 1, 1) + torch.arange(heads)[:, None, None] * 5).log()


def share(row: int, head: int, keys: int) -> Tensor:
    """What a row attends to: 1, 2, … shares, turned by three places a row; five more of each in the next head."""
    counts = 1 + (torch.arange(keys) + row * 3) % keys + 5.0 * head
    return counts / counts.sum()


class Attention(nn.Module):
    """Attention by a table, as timm's classes are made: the weights are seen by ``attn_drop`` unless it is fused."""

    def __init__(self, rows: int, keys: int, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.fused_attn = True
        self.value = nn.Linear(width, width)
        self.attn_drop = nn.Dropout(0.1)
        self.register_buffer('logits', table(rows, keys, heads))
        self.fail = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fail:
            raise RuntimeError('out of paper')
        value = self.value(x)[:, None].expand(-1, len(self.logits), -1, -1)
        scores = self.logits + 0 * (x @ x.transpose(1, 2))[:, None]
        if self.fused_attn:
            return (scores.softmax(dim=-1) @ value).mean(dim=1)
        return (self.attn_drop(scores.softmax(dim=-1)) @ value).mean(dim=1)


class Block(nn.Module):
    def __init__(self, attn: nn.Module) -> None:
        super().__init__()
        self.attn = attn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x)


class ViT(nn.Module):
    """Patches of 8 pixels on 32 × 48 pixels, (4, 6), and so many tokens before them, the first perhaps for a class."""

    def __init__(self, before: int = 1, class_token: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch_embed = nn.Conv2d(3, 8, SIDE, SIDE)
        name = 'cls_token' if class_token else 'registers'
        if before:
            self.register_parameter(name, nn.Parameter(torch.randn(1, before, 8)))
        self.before = getattr(self, name, None)
        self.blocks = nn.ModuleList([Block(Attention(24 + before, 24 + before)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        if self.before is not None:
            x = torch.cat([self.before.expand(len(x), -1, -1), x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x


class Plain(nn.Module):
    """Patches, and PyTorch's own attention, which is called without its weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patch_embed = nn.Conv2d(3, 8, SIDE, SIDE)
        self.self_attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.handed: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        out, weights = self.self_attention(x, x, x, need_weights=False)
        self.handed.append(weights is not None)
        return x + out


class Layer(nn.Module):
    """Object queries that attend to themselves and to the cells."""

    def __init__(self, queries: int, keys: int) -> None:
        super().__init__()
        self.self_attn = Weights(queries, queries)
        self.cross_attn = Weights(queries, keys)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = x + self.self_attn(x, x)[0]
        return x + self.cross_attn(x, memory)[0]


class Weights(nn.Module):
    """Attention by a table that hands out its weights, (1, heads, rows, keys)."""

    def __init__(self, rows: int, keys: int) -> None:
        super().__init__()
        self.register_buffer('logits', table(rows, keys))

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        weights = (self.logits + 0 * (x @ memory.transpose(1, 2))[:, None]).softmax(dim=-1)
        return (weights @ memory[:, None]).mean(dim=1), weights


class Detr(nn.Module):
    """Five object queries over (4, 6) cells of 8 pixels; their boxes, centre and size in shares, are given."""

    def __init__(self, boxes: Tensor | None, queries: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Conv2d(3, 8, SIDE, SIDE)
        self.decoder = nn.ModuleDict({'layers': nn.ModuleList([Layer(queries, 24)])})
        self.queries = nn.Parameter(torch.randn(1, queries, 8))
        self.boxes = boxes

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        memory = self.backbone(x).flatten(2).transpose(1, 2)
        found = self.decoder['layers'][0](self.queries, memory)
        answer = {'hidden': found}
        return answer if self.boxes is None else {**answer, 'pred_boxes': self.boxes[None]}
