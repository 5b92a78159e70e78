"""A count per pixel exists only where several sizes agree on it; else every size has its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    avg_pool2d,
    embedding_bag,
    interpolate,
    max_pool2d,
    pad,
    pixel_shuffle,
    scaled_dot_product_attention,
)
from torch.utils.flop_counter import FlopCounterMode

from bench import costs
from bench.costs import (
    Cost,
    Subject,
    activations,
    additions,
    multiplies,
    parameters,
    receptive_field,
)
from bench.graph import growth
from bench.graph.counting import elementwise, products, refuse_unknown, total
from bench.graph.growth import FITTED, HELD_TO, Growth, _fit
from bench.graph.trace import trace
from bench.protocol import load
from bench.timing.clock import DEFAULT_TIMING
from zoo.errors import InputError
from zoo.method import Method

SIZES = ((360, 640), (256, 256), (37, 53))
C = 8


@pytest.mark.parametrize("size", [(16, 16), (37, 53), (1, 1), (360, 640)])
def test_a_fit_gives_every_count_of_its_form(size: tuple[int, int]) -> None:
    def count(size: tuple[int, int]) -> int:
        return 7 * (size[0] - 4) * (size[1] - 2) + 5

    fit = _fit([count(each) for each in FITTED])
    assert fit(size) == count(size)
    assert (fit.area, fit.rows, fit.columns, fit.constant) == (7, -14, -28, 61)


def test_a_pixel_counts_what_it_adds_inside_the_image() -> None:
    counts = {(h, w): 7 * (h - 4) * (w - 4) + 3 * h + 11 for h, w in (*FITTED, *HELD_TO)}
    assert growth.per_pixel(counts) == 7
    assert growth.per_pixel(counts | {(37, 53): counts[37, 53] + 1}) is None
    assert growth.per_pixel({size: counts[size] for size in FITTED}) is None  # held to nothing


# Networks whose counts are no polynomial of the size


def up(n: int, window: int) -> int:
    """The next multiple of a window."""
    return -(-n // window) * window


class Windowed(nn.Module):
    """A convolution on an image that is padded to a multiple of a window."""

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        h, w = x.shape[-2:]
        x = pad(x, (0, -w % self.window, 0, -h % self.window), mode="replicate")
        return pixel_shuffle(self.conv(x), 2)[..., : 2 * h, : 2 * w]

    def hand(self, h: int, w: int) -> int:
        return up(h, self.window) * up(w, self.window) * 12 * 27


def attended(tokens: Tensor) -> Tensor:
    """Attention without softmax: (B, n, C) to (B, n, C), by 2 n^2 C multiplies."""
    return tokens @ tokens.transpose(1, 2) @ tokens


class Attention(nn.Module):
    """Attention between the tokens of a part of the image, after a 1x1 convolution."""

    def __init__(self, parts: str, window: int = 8) -> None:
        super().__init__()
        self.parts, self.window = parts, window
        self.into, self.out = nn.Conv2d(3, C, 1), nn.Conv2d(C, 12, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        h, w = x.shape[-2:]
        k = self.window
        if self.parts == "windows":
            x = pad(x, (0, -w % k, 0, -h % k), mode="replicate")
        y = self.into(x).permute(0, 2, 3, 1)  # (N, H, W, C)
        n, height, width, _ = y.shape
        if self.parts == "all":
            y = attended(y.reshape(n, height * width, C)).reshape(n, height, width, C)
        elif self.parts == "axes":
            y = attended(y.reshape(n * height, width, C)).reshape(n, height, width, C)
            y = y.permute(0, 2, 1, 3).reshape(n * width, height, C)
            y = attended(y).reshape(n, width, height, C).permute(0, 2, 1, 3)
        else:
            y = y.reshape(n, height // k, k, width // k, k, C).permute(0, 1, 3, 2, 4, 5)
            y = attended(y.reshape(-1, k * k, C))
            y = y.reshape(n, height // k, width // k, k, k, C).permute(0, 1, 3, 2, 4, 5)
            y = y.reshape(n, height, width, C)
        out = pixel_shuffle(self.out(y.permute(0, 3, 1, 2)), 2)
        return out[..., : 2 * h, : 2 * w]

    def hand(self, h: int, w: int) -> int:
        k = self.window
        if self.parts == "windows":
            h, w = up(h, k), up(w, k)
        convolutions = h * w * (3 * C + C * 12)
        tokens = {
            "all": 2 * (h * w) ** 2 * C,
            "axes": 2 * C * (h * w**2 + w * h**2),
            "windows": 2 * C * (h * w // k**2) * k**4,
        }
        return convolutions + tokens[self.parts]


class Strided(nn.Module):
    """A branch on an image of a sixth of the sides, as ESA has it."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.small = nn.Conv2d(3, C, 3, stride=2), nn.Conv2d(C, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        y = self.small(max_pool2d(self.down(x), 7, 3))
        return pixel_shuffle(interpolate(y, x.shape[-2:], mode="nearest"), 2)

    def hand(self, h: int, w: int) -> int:
        h, w = (h - 3) // 2 + 1, (w - 3) // 2 + 1
        strided = h * w * C * 27
        h, w = (h - 7) // 3 + 1, (w - 7) // 3 + 1
        return strided + h * w * 12 * C * 9


class Branching(nn.Module):
    """One convolution more for images of more than 200 rows."""

    def __init__(self) -> None:
        super().__init__()
        self.more, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        return pixel_shuffle(self.last(self.more(x) if x.shape[-2] > 200 else x), 2)

    def hand(self, h: int, w: int) -> int:
        return h * w * (12 * 27 + (81 if h > 200 else 0))


class Pyramid(nn.Module):
    """The same convolution at every level of a pyramid that ends at 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        out, level = self.conv(x), x
        while min(level.shape[-2:]) >= 16:
            level = avg_pool2d(level, 2)
            out = out + interpolate(self.conv(level), out.shape[-2:], mode="nearest")
        return pixel_shuffle(out, 2)

    def hand(self, h: int, w: int) -> int:
        rest = self.hand(h // 2, w // 2) if min(h, w) >= 16 else 0
        return h * w * 12 * 27 + rest


class Parity(nn.Module):
    """One convolution more where rows and columns are even (0) or odd (1)."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.of = rows, columns
        self.more, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        h, w = x.shape[-2:]
        return pixel_shuffle(self.last(self.more(x) if (h % 2, w % 2) == self.of else x), 2)

    def hand(self, h: int, w: int) -> int:
        return h * w * (12 * 27 + (81 if (h % 2, w % 2) == self.of else 0))


class Canvas(nn.Module):
    """A convolution on a canvas of 400x700 pixels, and on larger images without."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        h, w = x.shape[-2:]
        x = pad(x, (0, max(700 - w, 0), 0, max(400 - h, 0)))
        return pixel_shuffle(self.conv(x), 2)[..., : 2 * h, : 2 * w]

    def hand(self, h: int, w: int) -> int:
        return max(h, 400) * max(w, 700) * 12 * 27


class Falling(nn.Module):
    """A convolution of what an image lacks to 400 rows: more pixels take less work."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        h, w = x.shape[-2:]
        lacking = self.conv(x.new_zeros(1, 3, 400 - h, w)).mean((-2, -1), keepdim=True)
        return pixel_shuffle(lacking.expand(1, 12, h, w), 2)

    def hand(self, h: int, w: int) -> int:
        return (400 - h) * w * 12 * 3


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{f"window {k}": lambda k=k: Windowed(k) for k in (7, 10, 12, 16, 64, 128)},  # type: ignore[misc]
    "attention over all": lambda: Attention("all"),
    "axial attention": lambda: Attention("axes"),
    **{f"windows of {k}": lambda k=k: Attention("windows", k) for k in (7, 8)},  # type: ignore[misc]
    "strides": Strided,
    "branch on the size": Branching,
    "pyramid": Pyramid,
    **{
        f"{parity} sides": lambda parity=parity: Parity(*parity)  # type: ignore[misc]
        for parity in ((0, 1), (1, 0), (1, 1))
    },
    "a canvas": Canvas,
    "less for more pixels": Falling,
}
"""Windows of 8 divide every size that a fit is made on."""


def grown(net: nn.Module, stated: tuple[int, int]) -> Growth:
    method = Method(
        name="mine", citation="", takes="LR", channels="RGB", build=lambda scale, settings: net
    )
    return growth.of_method(method, net, 2, stated)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_count_at_a_size_is_what_a_hand_counts(name: str, size: tuple[int, int]) -> None:
    net = NETWORKS[name]()
    found = grown(net, size)
    assert total(products)(found.graph(size)) == net.hand(*size)  # type: ignore[operator]
    no_pixel_adds = 0.0 if name == "a canvas" else None
    assert found.per_pixel(total(products)) == no_pixel_adds


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_stated_for_720p_is_what_a_hand_counts(
    name: str, subject: Callable[[nn.Module], Subject]
) -> None:
    net = NETWORKS[name]()
    found = multiplies.measure(subject(net))["multiplies_720p"]
    assert found.value == net.hand(360, 640) / 1e9  # type: ignore[operator]
    assert found.note.startswith("counted at 640x360 px of LR; ")


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_that_torch_counts(name: str) -> None:
    net, size = NETWORKS[name](), (37, 53)
    with FlopCounterMode(display=False) as counter:
        net.to("meta")(torch.empty(1, 3, *size, device="meta"))
    assert 2 * net.hand(*size) == counter.get_total_flops()  # type: ignore[operator]


@pytest.fixture
def subject() -> Callable[[nn.Module], Subject]:
    def make(net: nn.Module, scale: int = 2) -> Subject:
        return Subject(
            method=Method(
                name="mine", citation="", takes="LR", channels="RGB",
                build=lambda scale, settings: net,
            ),
            module=net,
            scale=scale,
            protocol=load("srcnn2014"),
            device=torch.device("cpu"),
            timing=DEFAULT_TIMING,
        )  # fmt: skip

    return make


def test_what_depends_on_the_size_has_no_value_per_pixel_and_says_so(
    subject: Callable[[nn.Module], Subject],
) -> None:
    net = Windowed(16)
    found = multiplies.measure(subject(net))
    assert found["multiplies_720p"].value == net.hand(368, 640) / 1e9
    assert found["multiplies_720p"].note == "counted at 640x360 px of LR; depends on the size"
    per_input = found["multiplies_per_input_px"]
    assert per_input.value is None
    assert per_input.note == (
        "depends on the size: 995,328 at 53x37 px of LR; 995,328 at 54x37 px of LR; "
        "995,328 at 53x38 px of LR; 76,308,480 at 640x360 px of LR"
    )
    assert activations.measure(subject(net))["activations_720p"].value == 12 * 368 * 640 / 1e6
    assert additions.measure(subject(net))["additions_per_input_px"].value is None


class WideWindowed(Windowed):
    """The same with 64 filters between."""

    def __init__(self, window: int) -> None:
        super().__init__(window)
        self.conv = nn.Sequential(  # type: ignore[assignment]
            nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 12, 3, padding=1)
        )


@pytest.mark.parametrize(
    ("window", "multiplies_720p", "activations_720p"),
    [  # of 640x368, 648x360, 644x364 and 640x360 px of LR
        (16, 2.034892800, 17.89952),
        (12, 2.015539200, 17.72928),
        (7, 2.025354240, 17.815616),
        (8, 1.990656000, 17.5104),
    ],
)
def test_a_window_takes_what_runs_on_the_padded_image(
    window: int,
    multiplies_720p: float,
    activations_720p: float,
    subject: Callable[[nn.Module], Subject],
) -> None:
    given = subject(WideWindowed(window))
    assert multiplies.measure(given)["multiplies_720p"].value == multiplies_720p
    assert activations.measure(given)["activations_720p"].value == activations_720p


@pytest.mark.parametrize("name", NETWORKS)
def test_no_count_is_negative(name: str, subject: Callable[[nn.Module], Subject]) -> None:
    given = subject(NETWORKS[name]())
    for cost in ("multiplies", "activations", "additions", "memory", "parameters"):
        values = [found.value for found in costs.load(cost).measure(given).values()]
        assert all(value is None or value >= 0 for value in values)


class Thumbnail(nn.Module):
    """A convolution of the image, and one of a thumbnail of 64x64 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.small = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(3, 12, 3)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        small = self.small(adaptive_avg_pool2d(x, 64)).mean((-2, -1), keepdim=True)
        return pixel_shuffle(self.conv(x) * small, 2)


def test_what_no_pixel_adds_is_counted_and_said(subject: Callable[[nn.Module], Subject]) -> None:
    found = multiplies.measure(subject(Thumbnail()))
    of_thumbnail = 62 * 62 * 324
    per_input, of_720p = found["multiplies_per_input_px"], found["multiplies_720p"]
    assert (per_input.value, of_720p.value) == (324 / 1e6, (360 * 640 * 324 + of_thumbnail) / 1e9)
    assert per_input.note == f"and {of_thumbnail:,} for an image, whatever its size"
    assert of_720p.note == f"counted at 640x360 px of LR; {of_thumbnail:,} of it at every size"


def test_a_small_part_that_no_pixel_adds_is_left_out(
    subject: Callable[[nn.Module], Subject],
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=4), nn.Conv2d(12, 12, 7), nn.PixelShuffle(2))
    found = multiplies.measure(subject(net))
    assert found["multiplies_720p"] == Cost(360 * 640 * (324 + 12 * 12 * 49) / 1e9)


@pytest.mark.parametrize("name", ["branch on the size", "a small image"])
def test_receptive_field_and_parameters_are_those_of_the_stated_size(
    name: str, subject: Callable[[nn.Module], Subject]
) -> None:
    class Below(Branching):
        def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
            return pixel_shuffle(self.last(self.more(x) if x.shape[-2] < 100 else x), 2)

    small, large = (5, 3) if name == "a small image" else (3, 5)
    given = subject(Below() if name == "a small image" else Branching())
    found = receptive_field.measure(given)["receptive_field"]
    assert found == Cost(
        float(large),
        note=f"depends on the size: {small} at 48x48 px of LR; {small} at 53x37 px of LR; "
        f"{large} at 640x360 px of LR",
    )
    used = parameters.measure(given)
    biased = 12 * 27 + 12 + (81 + 3 if large == 5 else 0)
    note = "those used at 640x360 px of LR; depends on the size"
    assert used["conv_parameters"] == Cost(float(biased), note=note)
    assert used["parameters"] == Cost(12 * 27 + 12 + 81 + 3.0)


class OfKnownOperators(nn.Module):
    """What networks of today are made of, by way of a function."""

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        h, w = x.shape[-2:]
        out = self.compute(x)
        return interpolate(x, (2 * h, 2 * w), mode="nearest") + out.mean()


def attention_by_torch(x: Tensor) -> Tensor:
    tokens = x.permute(0, 2, 3, 1)
    return scaled_dot_product_attention(tokens, tokens, tokens)


def bag(x: Tensor) -> Tensor:
    """Sums of three rows each of a table of 5 columns."""
    index = x.permute(0, 2, 3, 1).reshape(-1, 3).long()
    return embedding_bag(index, x.new_zeros(16, 5), mode="sum")


def enlarged(mode: str) -> Callable[[Tensor], Tensor]:
    return lambda x: interpolate(x, scale_factor=2, mode=mode)


H, W = 32, 24
PIXELS = H * W
OPERATORS: dict[str, tuple[Callable[[Tensor], Tensor], int, int, int]] = {
    "attention": (
        attention_by_torch, 6 * PIXELS * W, 6 * PIXELS, PIXELS * (2 * W + 3 * (W - 1))
    ),
    "bilinear": (enlarged("bilinear"), 0, 12 * PIXELS * 4, 12 * PIXELS * 3),
    "bicubic": (enlarged("bicubic"), 0, 12 * PIXELS * 16, 12 * PIXELS * 15),
    "pooling to 5x7": (lambda x: adaptive_avg_pool2d(x, (5, 7)), 0, 0, 3 * (36 * 30 - 35)),
    "bags": (bag, 0, 0, 2 * 5 * PIXELS),
}  # fmt: skip
"""Each with its products, multiplies of single elements, and additions."""


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_attention_interpolation_and_pooling_are_counted(name: str) -> None:
    compute, multiplied, of_elements, added = OPERATORS[name]
    graph = trace(OfKnownOperators(compute), torch.empty(1, 3, H, W))
    refuse_unknown(graph)
    out = compute(torch.empty(1, 3, H, W, device="meta")).numel()
    assert total(products)(graph) == multiplied
    assert total(elementwise)(graph) == of_elements
    assert (
        total(additions.additions)(graph) == added + (out - 1) + 12 * PIXELS
    )  # the mean, and the sum with it


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(InputError, match="a cost of -3: expected at least 0"):
        Cost(-3.0)


class Picky(nn.Module):
    """Takes sides that are multiples of 8 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, 3, h, w) to (N, 3, 2h, 2w)
        if x.shape[-1] % 8 or x.shape[-2] % 8:
            raise ValueError("give multiples of 8")
        return pixel_shuffle(self.conv(x), 2)


def test_a_size_that_is_not_accepted_is_said_and_the_others_count(
    subject: Callable[[nn.Module], Subject],
) -> None:
    given = subject(Picky())
    assert multiplies.measure(given)["multiplies_per_input_px"].value == 324 / 1e6
    found = growth.of_method(given.method, given.module, 2, (45, 45))
    with pytest.raises(InputError, match=r"at 45x45 px of LR: .*give multiples of 8"):
        found.graph((45, 45))


def test_graphs_of_a_file_are_kept_and_those_of_another_are_not(tmp_path: Path) -> None:
    import zoo

    text = (
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('NAME',)\n"
        "def method(name):\n"
        "    return Method(name=name, citation='', takes='LR', channels='RGB',\n"
        "        build=lambda scale, settings: nn.Upsample(scale_factor=scale))\n"
    )
    found = []
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text(text.replace("NAME", name))
        method, _ = zoo.load(str(tmp_path / f"{name}.py"))
        net = method.build(2, {})
        found += [growth.of_method(method, net, 2, (40, 40)) for _ in range(2)]
    assert found[0] is found[1]
    assert found[2] is found[3]
    assert found[0] is not found[2]


def test_an_edited_file_is_traced_again(tmp_path: Path) -> None:
    import zoo

    text = (
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('edited',)\n"
        "def method(name):\n"
        "    return Method(name=name, citation='', takes='interpolated', channels='RGB',\n"
        "        build=lambda scale, settings: nn.Conv2d(3, 3, SIDE, padding='same'))\n"
    )
    found = []
    for side in (3, 5):
        (tmp_path / "edited.py").write_text(text.replace("SIDE", str(side)))
        method, _ = zoo.load(str(tmp_path / "edited.py"))
        grown = growth.of_method(method, method.build(2, {}), 2, (40, 40))
        found.append(grown.per_pixel(total(products)))
    assert found == [4 * 9 * 9, 4 * 9 * 25]
