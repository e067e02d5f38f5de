"""A small network of known numbers, and what was recorded of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featmap.recorder import ActivationRecorder


class Scale(nn.Module):
    """Multiplies by a literal and counts its calls."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x * self.factor


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Scale(2.0)
        self.second = Scale(3.0)
        self.last = Scale(1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.first(x)
        high = self.second(low)
        self.last(high)
        return low, high


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = Scale(10.0)
        self.branches = nn.ModuleList([Scale(1.0)])

    def forward(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        return [self.shared(feature) for feature in (*features, features[0] + 100)]


class Net(nn.Module):
    """Backbone, then head; ``unused`` never runs and ``wrapper`` is only taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head()
        self.unused = Scale(1.0)
        self.wrapper = nn.Sequential(Scale(4.0))
        self.error: BaseException | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.backbone(x)
        if self.error:
            raise self.error
        self.wrapper[0](x)
        return self.head(features)


ONE = torch.ones(1)


def numbers(recorder: ActivationRecorder) -> list[tuple[str, int, object]]:
    """Label, call and value of every record, tensors as numbers."""

    def plain(value):
        if isinstance(value, Tensor):
            return value.tolist()
        if isinstance(value, (tuple, list)):
            return type(value)(plain(item) for item in value)
        return value

    return [(record.target.label, record.call, plain(record.value)) for record in recorder.records]
