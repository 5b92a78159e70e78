from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

import zoo
from bench.graph.trace import Graph, trace, trace_method
from zoo.errors import InputError

FLOAT = 4


class Toy(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Block(nn.Module):
    """A residual block with what networks are made of, one convolution used twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + 0.1 * self.conv(self.relu(self.norm(self.conv(x))))
        return out


def of(function: Callable[[Tensor], Any], *shape: int) -> Graph:
    return trace(Toy(function), torch.empty(shape or (1, 2, 4, 6)))


def names(graph: Graph) -> list[str]:
    """Operators in order, but for the empty tensor that batch normalisation gives beside."""
    return [operator.name for operator in graph.operators if operator.name != "empty"]


# What is recorded


def test_operators_stand_in_order_with_the_layer_that_ran_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), Block(8)).eval()
    graph = trace(net, torch.empty(1, 3, 5, 5))
    found = [op.layer for op in graph.operators if op.name != "empty"]
    assert list(zip(names(graph), found, strict=True)) == [
        ("convolution", "0"),
        ("convolution", "1.conv"),
        ("native_batch_norm", "1.norm"),
        ("relu_", "1.relu"),
        ("convolution", "1.conv"),
        ("mul", "1"),
        ("add", "1"),
    ]


def test_a_layer_inside_another_is_named_again_once_the_inner_one_is_done() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.inner(torch.tanh(x)))

    graph = trace(nn.Sequential(Outer()), torch.empty(1, 1, 2, 2))
    assert [op.layer for op in graph.operators] == ["0", "0.inner", "0"]


def test_arguments_go_by_name_with_defaults() -> None:
    (operator,) = of(lambda x: functional.conv2d(x, torch.ones(3, 2, 1, 1), stride=2)).operators[1:]
    given = dict(operator.arguments)
    assert given.pop("input").shape == (1, 2, 4, 6)
    assert given.pop("weight").shape == (3, 2, 1, 1)
    assert given == {
        "bias": None,
        "stride": [2, 2],
        "padding": [0, 0],
        "dilation": [1, 1],
        "transposed": False,
        "output_padding": [0, 0],
        "groups": 1,
    }
    assert operator.overload == "aten.convolution.default"
    (added,) = of(lambda x: x + 1).operators
    assert (added.arguments["other"], added.arguments["alpha"]) == (1, 1)


def test_tensors_in_lists_are_described() -> None:
    graph = of(lambda x: torch.cat([x, x.relu()], 1))
    assert [value.shape for value in graph.operators[1].tensors] == [(1, 2, 4, 6)] * 2
    assert graph.operators[1].tensors[0] == graph.input


def test_input_and_outputs_are_described() -> None:
    graph = of(lambda x: {"a": [x.double()], "b": x}, 2, 3, 5, 7)
    assert (graph.input.shape, graph.input.dtype) == ((2, 3, 5, 7), torch.float32)
    assert [value.dtype for value in graph.outputs] == [torch.float64, torch.float32]
    assert graph.outputs[1] == graph.input
    assert graph.input.size == 2 * 3 * 5 * 7


# Which tensor is which


def test_a_tensor_changed_in_place_stays_the_same() -> None:
    graph = of(lambda x: (x * 2).relu_().add_(1))
    mul, relu, add = graph.operators
    assert mul.out == relu.out == add.out == graph.outputs[0]
    assert mul.out.number != graph.input.number


def test_what_is_written_to_out_stays_the_same() -> None:
    made, mul = of(lambda x: torch.mul(x, 2, out=torch.empty_like(x))).operators
    assert made.out == mul.out == mul.arguments["out"]


def test_a_view_is_another_tensor_in_the_same_memory() -> None:
    (view, slice_, copy) = of(lambda x: x.view(2, 24)[:, ::2].clone()).operators
    numbers = {view.arguments["self"].number, view.out.number, slice_.out.number, copy.out.number}
    assert len(numbers) == 4
    assert view.arguments["self"].storage == view.out.storage == slice_.out.storage
    assert copy.out.storage != view.out.storage


def test_numbers_are_not_used_again_when_memory_is() -> None:
    def many(x: Tensor) -> Tensor:
        for _ in range(50):
            x = x + 1
        return x

    graph = of(many)
    assert len({op.out.number for op in graph.operators}) == 50
    assert len({op.out.storage for op in graph.operators}) == 50


def test_a_parameter_has_its_name_and_so_has_a_view_of_it() -> None:
    graph = trace(nn.Sequential(nn.Linear(3, 5)), torch.empty(2, 3))
    bias, _, weight = graph.operators[-1].tensors
    assert (bias.parameter, weight.parameter) == ("0.bias", "0.weight")
    assert weight.shape == (3, 5)
    assert graph.input.parameter == graph.outputs[0].parameter == ""


def test_chosen_entries_of_a_parameter_have_its_name_and_what_is_made_of_them_has_not() -> None:
    class Chooses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(9, 4))

        def forward(self, x: Tensor) -> list[Tensor]:
            which = x.argmax(-1)
            chosen = [self.table[which], self.table.index_select(0, which), x[which]]
            return [*chosen, chosen[0][:, 1:].mT, chosen[0] + 1]

    found = trace(Chooses(), torch.empty(5, 9))
    assert [value.parameter for value in found.outputs] == ["table", "table", "", "table", ""]


def test_only_parameters_that_ran_are_listed_shared_ones_once() -> None:
    block = Block(4)
    graph = trace(nn.Sequential(block, block).eval(), torch.empty(1, 4, 5, 5))
    assert graph.parameters == {
        "0.conv.weight": (4, 4, 3, 3),
        "0.conv.bias": (4,),
        "0.norm.weight": (4,),
        "0.norm.bias": (4,),
    }


# Memory


@pytest.mark.parametrize(
    ("function", "planes"),
    [
        (lambda x: x, 1),
        (lambda x: x.relu(), 2),
        (lambda x: x.relu().relu(), 3),
        (lambda x: x.relu().relu().relu().relu(), 3),  # the first is freed as the third is made
        (lambda x: x.relu().relu_().relu_(), 2),
        (lambda x: x.relu_(), 1),
        (lambda x: x.view(-1)[::2].contiguous(), 1.5),
        (lambda x: x.flip(2).transpose(2, 3), 2),
        (lambda x: torch.cat([x.relu(), x.tanh()], 1), 1 + 2 + 2),
        (lambda x: x.double(), 1 + 2),
        (lambda x: (x.relu(), x.relu(), x.relu())[0], 4),
    ],
)
def test_peak_by_hand(function: Callable[[Tensor], Any], planes: float) -> None:
    assert of(function).peak_bytes == planes * 48 * FLOAT


def test_peak_of_layers_is_a_layers_input_and_output_and_the_networks_input() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3), nn.Conv2d(8, 3, 1))
    # The second: 3 + 16 planes of 10x12 and 8 of 8x10; no weights.
    assert trace(net, torch.empty(1, 3, 10, 12)).peak_bytes == FLOAT * (19 * 120 + 8 * 80)


class Dense(nn.Module):
    """Without convolutions: what they take while they run is the library's affair."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.slope = nn.PReLU(8)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.cat(
            [x, functional.pad(x, (2, 2, 1, 1), mode="replicate")[..., 1:-1, 2:-2]], 1
        )
        second = self.slope(self.norm(first))
        third = torch.relu_(second + 0.1 * first)
        del first
        return functional.pixel_shuffle(third * second, 2) + functional.interpolate(
            x[:, :2], None, 2
        )


def test_peak_is_what_the_profiler_saw() -> None:
    net, x = Dense().eval(), torch.rand(1, 4, 30, 40)
    live = peak = 0
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        net(x)
    assert seen.profiler is not None
    for event in seen.profiler.kineto_results.events():
        live += event.nbytes() if event.name() == "[memory]" else 0
        peak = max(peak, live)
    assert peak > 0
    assert trace(net, x).peak_bytes == peak + x.nbytes


# What tracing leaves alone, and what it costs


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3)
        self.register_buffer("mean", torch.zeros(1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.layer(x) - self.mean
        return out


def test_the_module_stays_as_it_was() -> None:
    net = Counting()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trace(net, torch.empty(1, 1, 5, 5))
    assert net.calls == 0
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(value.device.type == "cpu" for value in net.state_dict().values())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not net.layer._forward_hooks
    assert not net.layer._forward_pre_hooks


def test_no_weight_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a tensor was copied")

    monkeypatch.setattr(Tensor, "__deepcopy__", refuse)
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", refuse)
    assert names(trace(Counting(), torch.empty(1, 1, 5, 5))) == ["convolution", "sub"]


def test_no_image_is_too_large() -> None:
    x = torch.empty(1, 1, 10**5, 10**5, device="meta")
    assert trace(nn.Conv2d(1, 64, 3, padding=1), x).peak_bytes == 65 * 10**10 * FLOAT


def test_nothing_is_kept_for_gradients() -> None:
    net = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(5)])
    with torch.enable_grad():
        graph = trace(net, torch.empty(1, 3, 5, 5, requires_grad=True))
    assert graph.peak_bytes == 3 * 75 * FLOAT


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.sum().item(),
        lambda x: x if float(x.sum()) > 0 else -x,
        lambda x: torch.from_numpy(x.numpy()),
        lambda x: x.no_such_attribute,
        lambda x: exec("raise SystemExit"),
    ],
    ids=["item", "branch", "numpy", "bug", "exit"],
)
def test_what_cannot_be_traced_says_why_in_one_line(function: Callable[[Tensor], Any]) -> None:
    with pytest.raises(InputError, match=r"^Toy cannot be traced: \w+.*; keep its .*$") as caught:
        of(function)
    assert "\n" not in str(caught.value)


def test_an_error_that_a_method_words_itself_is_left_alone() -> None:
    def refuse(x: Tensor) -> None:
        raise InputError("give more pixels")

    with pytest.raises(InputError, match=r"^give more pixels$"):
        of(refuse)


def test_a_failed_trace_leaves_nothing_active() -> None:
    with pytest.raises(InputError):
        of(lambda x: x.item())
    assert torch.ones(1).item() == 1.0


# Of a method


@pytest.mark.parametrize(
    ("name", "scale", "shape"),
    [("espcn", 3, (1, 1, 48, 48)), ("srcnn-9-1-5", 3, (1, 1, 144, 144)), ("bicubic", 2, None)],
)
def test_a_method_is_given_what_it_takes(
    name: str, scale: int, shape: tuple[int, ...] | None
) -> None:
    method, _ = zoo.load(name)
    graph = trace_method(method, method.build(scale, method.settings), scale)
    assert graph.input.shape == (shape or (1, 1, 96, 96))
    assert graph.input.dtype == (torch.float32 if graph.parameters else torch.float64)
    assert graph.outputs[0].shape == (1, 1, 48 * scale, 48 * scale)


def test_a_method_may_be_given_another_size() -> None:
    method, _ = zoo.load("espcn")
    graph = trace_method(method, method.build(2, method.settings), 2, (5, 7))
    assert graph.outputs[0].shape == (1, 1, 10, 14)


# What is counted inside an image


# How far a module looks, where it says so


class Shuffled(nn.Module):
    """Says that it looks a pixel to each side; so it does, through a list of pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x).flatten().reshape(x.shape)
        return out

    def receptive_field_proxy(self) -> nn.Module:
        return nn.Conv2d(1, 1, 3, padding=1)


def test_sight_stands_for_the_module_that_has_it_and_for_nothing_else() -> None:
    net = nn.Sequential(nn.ReLU(), Shuffled()).double()
    x = torch.empty(1, 1, 9, 9, dtype=torch.float64)
    assert names(trace(net, x, proxies=True)) == ["relu", "convolution"]
    assert names(trace(net, x)) == ["relu", "convolution", "view", "view"]
    assert names(trace(net[1], x, proxies=True)) == ["convolution"]
    assert isinstance(net[1], Shuffled)
