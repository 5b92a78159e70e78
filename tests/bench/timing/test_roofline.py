from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.graph.trace import trace
from bench.timing import roofline
from bench.timing.roofline import Ceilings, ceilings, least_seconds, traffic

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.relu_(self.conv(x)).flatten(2).unflatten(2, x.shape[2:])
        return out


def test_traffic_by_hand() -> None:
    found = {op.name: traffic(op) for op in trace(Net(), torch.empty(1, 2, 5, 6)).operators}
    pixels = 5 * 6
    convolution = 2 * pixels + 4 * 2 * 9 + 4 + 4 * pixels
    assert found["convolution"] == convolution
    assert found["relu_"] == 2 * 4 * pixels
    assert found["view"] == 0


def test_each_operator_takes_the_longer_of_arithmetic_and_traffic() -> None:
    graph = trace(Net(), torch.empty(1, 2, 5, 6))
    pixels = 5 * 6
    multiplies = 4 * 2 * 9 * pixels
    read_and_written = 4 * (2 * pixels + 4 * 2 * 9 + 4 + 4 * pixels)
    relu = 4 * 2 * 4 * pixels
    slow_product = Ceilings(multiplies_per_second=1.0, bytes_per_second=1e9)
    assert least_seconds(graph, slow_product, 4) == pytest.approx(multiplies + relu / 1e9)
    slow_copy = Ceilings(multiplies_per_second=1e12, bytes_per_second=1.0)
    assert least_seconds(graph, slow_copy, 4) == pytest.approx(read_and_written + relu)


def test_the_ceilings_are_of_this_machine() -> None:
    found = ceilings(CPU, torch.float32)
    assert 1e8 < found.multiplies_per_second < 1e14
    assert 1e8 < found.bytes_per_second < 1e14


def test_a_slow_product_is_not_made_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []

    def product(side: int, *_: object) -> float:
        sides.append(side)
        return 1e-3 if side < 1024 else 5.0

    monkeypatch.setattr(roofline, "_product_seconds", product)
    found = ceilings(CPU, torch.float16)
    assert sides == [512, 1024, 1024]
    assert found.multiplies_per_second == pytest.approx(1024**3 / 5.0)
