"""Modules that a runtime computes: images of any size, types and layouts, copies, threads."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from bench.graph.counting import products, total
from bench.graph.trace import trace
from bench.runtimes.external import External, Port, _pieces
from zoo.errors import InputError

PLAIN = Port(name="image", channels=1, layout="NCHW", dtype=torch.float32)


class Blur(External):
    """A 5x5 convolution, then nearest-neighbour enlargement by 2, by a `runtime` of torch."""

    def __init__(
        self,
        takes: Port = PLAIN,
        gives: Port = PLAIN,
        size: tuple[int, int] | None = None,
        side: int = 5,
        reads_graph: bool = True,
    ) -> None:
        super().__init__(
            program="Blurrer 1", file_bytes=9, takes=takes, gives=gives, factor=2, size=size
        )
        generator = torch.Generator().manual_seed(1)
        weight = torch.rand(1, 1, side, side, generator=generator) / side**2
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.opened: list[int] = []
        self.reads_graph = reads_graph

    def open(self, threads: int) -> int:
        self.opened.append(threads)
        return threads

    def run(self, session: Any, image: Any) -> Any:
        if self.size is not None:
            assert image.shape[2:] == self.size
        return self._blurred(torch.from_numpy(image)).numpy()

    def on_meta(self, stored: Tensor) -> Tensor:
        return self._blurred(stored) if self.reads_graph else super().on_meta(stored)

    def _blurred(self, stored: Tensor) -> Tensor:
        x = self.takes.read(stored, torch.float32)
        y = conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        return self.gives.stored(interpolate(y, scale_factor=2))


def _image(height: int, width: int, most: float = 1.0) -> Tensor:
    return most * torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(24, 20), (50, 90), (24, 21), (25, 20), (61, 20)])
def test_tiles_of_a_fixed_size_give_the_whole_image(size: tuple[int, int]) -> None:
    x = _image(*size)
    fixed = Blur(size=(24, 20))
    assert torch.equal(fixed(x), Blur()(x))
    assert fixed.remarks == (
        (
            "made for 20x24 px: a smaller image is padded by its edge, a larger one cut into tiles "
            "with a margin of 2 px"
        ),
    )


def test_a_smaller_image_is_padded_by_its_edge_and_cropped() -> None:
    x = _image(10, 12)
    y = Blur(size=(24, 20))(x)
    assert y.shape == (1, 1, 20, 24)
    whole = Blur()(x)
    assert torch.equal(y[..., :16, :20], whole[..., :16, :20])  # 2 px from the padded edge
    assert y.mean() > whole.mean()  # the edge goes on, where the network pads with zeros


@pytest.mark.parametrize(("side", "reads_graph"), [(13, True), (5, False)])
def test_seams_may_differ_if_the_field_is_large_or_unknown(side: int, reads_graph: bool) -> None:
    fixed = Blur(size=(20, 20), side=side, reads_graph=reads_graph)
    assert "margin of 5 px, where seams may differ" in fixed.remarks[0]
    assert fixed(_image(33, 47)).shape == (1, 1, 66, 94)


def test_pieces_cover_the_side_and_keep_their_margins() -> None:
    for side, tile, margin, step in (
        (61, 20, 4, 1),
        (100, 40, 10, 4),
        (40, 40, 3, 1),
        (90, 30, 7, 6),
    ):
        pieces = list(_pieces(side, tile, margin, step))
        assert [p.first for p in pieces[1:]] == [p.last for p in pieces[:-1]]
        assert (pieces[0].first, pieces[-1].last) == (0, side)
        for p in pieces:
            assert p.start % step == 0
            assert p.first == 0 or p.first - p.start >= margin
            assert p.last == side or p.start + tile - p.last >= margin


def test_levels_and_layouts() -> None:
    takes = Port(name="in", channels=1, layout="NHWC", dtype=torch.int8, step=1.0, zero=-128)
    gives = Port(name="out", channels=1, layout="NHWC", dtype=torch.uint8)
    x = _image(9, 8, 255).round()
    y = Blur(takes, gives)(x)
    assert y.dtype == torch.float32
    expected = torch.floor(Blur()(x) + 0.5)
    assert torch.equal(y, expected)
    assert takes.stored(x).shape == (1, 9, 8, 1)
    assert takes.stored(x).dtype == torch.int8


def test_the_graph_counts_as_that_of_a_network() -> None:
    graph = trace(Blur(), torch.empty(1, 1, 10, 10))
    assert total(products)(graph) == 25 * 100
    with pytest.raises(InputError, match="not counted: Blurrer 1 does not show"):
        trace(Blur(reads_graph=False), torch.empty(1, 1, 10, 10))


def test_copies_share_weights_and_sessions_and_follow_the_thread() -> None:
    module = Blur()
    copies = [copy.deepcopy(module) for _ in range(3)]
    assert all(each.weight is module.weight for each in copies)

    def work(each: nn.Module) -> None:
        torch.set_num_threads(1)
        each(_image(8, 8))

    threads = [threading.Thread(target=work, args=(each,)) for each in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        module(_image(8, 8))
    finally:
        torch.set_num_threads(before)
    assert module.opened == [1, 2]


def test_images_of_a_batch_are_computed_one_by_one_in_the_type_given() -> None:
    x = torch.cat([_image(8, 9), _image(8, 9) / 2]).double()
    y = Blur()(x)
    assert y.dtype == torch.float64
    assert torch.equal(y[1:], Blur()(x[1:]))


def test_an_output_of_another_size_is_refused() -> None:
    module = Blur()
    module.factor = 3
    with pytest.raises(InputError, match=r"gave a tensor of shape \(1, 1, 16, 16\); expected"):
        module(_image(8, 8))
