"""Every network against a reference in functional calls, and against its papers' counts."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.ndimage
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import zoo
from bench.files import weights as loading
from zoo import fsrcnn
from zoo.edsr import EDSR, MDSR, from_x2
from zoo.errors import InputError
from zoo.memnet import MemNet
from zoo.method import Method
from zoo.perceptual import Perceptual
from zoo.resample import imresize
from zoo.srresnet import PLACES, Discriminator, SRResNet
from zoo.vdsr import VDSR, from_mat

State = Mapping[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)  # of DIV2K (Lim et al.'s code)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors this small wait longer for threads than they compute
    yield
    torch.set_num_threads(before)


@cache
def _card(spec: str) -> Method:
    return zoo.load(spec)[0]


def _built(spec: str, scale: int) -> nn.Module:
    method = _card(spec)
    return method.build(scale, method.settings)


def _on_meta(spec: str, scale: int) -> nn.Module:
    with torch.device("meta"):
        return _built(spec, scale)


def _stirred(module: nn.Module) -> nn.Module:
    """Float64, eval mode, every parameter and statistic random, signals kept near 1."""
    torch.manual_seed(3)
    module = module.double().eval()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith("num_batches_tracked") or "_mean." in name:
            continue
        with torch.no_grad():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.ndim == 4:
                tensor.normal_(std=1.5 / math.sqrt(tensor[0].numel()))
            else:
                tensor.normal_(0.3, 0.5)
    return module


# --- references: what the papers say, in functional calls on a state dict --------------------


def _conv(s: State, name: str, x: Tensor) -> Tensor:
    weight = s[f"{name}.weight"]
    return functional.conv2d(x, weight, s[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _bn(s: State, name: str, x: Tensor) -> Tensor:
    mean, var, gain, offset = (
        s[f"{name}.{key}"].view(1, -1, 1, 1)
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * gain + offset


def _prelu(s: State, name: str, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * s[f"{name}.weight"].view(1, -1, 1, 1))


def _shuffled(x: Tensor, r: int) -> Tensor:
    out = x.new_empty(x.shape[0], x.shape[1] // r**2, r * x.shape[2], r * x.shape[3])
    for channel in range(out.shape[1]):
        for row in range(r):
            for column in range(r):
                plane = x[:, channel * r * r + row * r + column]
                out[:, channel, row::r, column::r] = plane
    return out


def _stages(scale: int) -> list[int]:
    return [3] if scale == 3 else [2] * int(math.log2(scale))


def _vdsr(s: State, x: Tensor, depth: int) -> Tensor:
    h = x
    for k in range(depth):
        h = _conv(s, f"layers.{k}", h)
        h = h.clamp(min=0) if k < depth - 1 else h
    return x + h


def _edged(s: State, name: str, x: Tensor) -> Tensor:
    """A convolution that replicates the edge pixels of its input."""
    weight = s[f"{name}.weight"]
    side = weight.shape[-1] // 2
    x = functional.pad(x, (side,) * 4, mode="replicate")
    return functional.conv2d(x, weight, s[f"{name}.bias"])


def _fsrcnn(s: State, x: Tensor, scale: int, m: int) -> Tensor:
    for k in range(m + 3):
        x = _edged(s, f"convs.{k}", x)
        x = torch.where(x > 0, x, x * s[f"slopes.{k}.weight"])
    rows, columns = x.shape[2:]
    x = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    canvas = x.new_zeros(x.shape[0], 1, scale * (rows + 2) + 40, scale * (columns + 2) + 40)
    filters = s["deconv.weight"][:, 0]  # each LR pixel paints its filters over its own block
    centre = {2: 0, 3: 1, 4: 0}.get(scale, (scale - 1) // 2)
    start = 20 + centre - 4
    for row in range(rows + 2):
        for column in range(columns + 2):
            spot = torch.einsum("nc,cij->nij", x[:, :, row, column], filters)
            top, left = start + scale * row, start + scale * column
            canvas[:, 0, top : top + 9, left : left + 9] += spot
    first = 20 + scale
    cut = canvas[:, :, first : first + scale * rows, first : first + scale * columns]
    return cut + s["deconv.bias"]


def _srresnet(s: State, x: Tensor, scale: int, blocks: int, norm: bool) -> Tensor:
    def normal(name: str, y: Tensor) -> Tensor:
        return _bn(s, name, y) if norm else y

    first = _prelu(s, "head.1", _conv(s, "head.0", x))
    h = first
    for k in range(blocks):
        body = f"blocks.{k}.body"
        inner = _prelu(s, f"{body}.2", normal(f"{body}.1", _conv(s, f"{body}.0", h)))
        h = h + normal(f"{body}.4", _conv(s, f"{body}.3", inner))
    h = first + normal("merge.1", _conv(s, "merge.0", h))
    for k, r in enumerate(_stages(scale)):
        h = _prelu(s, f"upsample.{k}.2", _shuffled(_conv(s, f"upsample.{k}.0", h), r))
    return _conv(s, "tail", h)


def _perceptual(s: State, x: Tensor, scale: int, blocks: int, upsampler: str) -> Tensor:
    h = _bn(s, "head.1", _conv(s, "head.0", x)).clamp(min=0)
    for k in range(blocks):
        body = f"blocks.{k}.body"
        inner = _bn(s, f"{body}.0.1", _conv(s, f"{body}.0.0", h)).clamp(min=0)
        h = h + _bn(s, f"{body}.2", _conv(s, f"{body}.1", inner))
    for k in range(int(math.log2(scale))):
        name = f"doublings.{k}"
        if upsampler == "nearest3":
            name = f"{name}.1"
            h = _conv(s, f"{name}.0", h.repeat_interleave(2, 2).repeat_interleave(2, 3))
        else:
            h = _spread(s, f"{name}.0", h)
        h = _bn(s, f"{name}.1", h).clamp(min=0)
    y = _conv(s, "tail", h)
    return 1 / (1 + torch.exp(-2 * y))  # (tanh y + 1) / 2


def _spread(s: State, name: str, x: Tensor) -> Tensor:
    """Transposed convolution of stride 2: zeros between pixels, then the filters turned around."""
    weight = s[f"{name}.weight"]  # (in, out, k, k)
    rows, columns = x.shape[2:]
    apart = x.new_zeros(x.shape[0], x.shape[1], 2 * rows, 2 * columns)
    apart[:, :, ::2, ::2] = x
    turned = weight.flip(2, 3).transpose(0, 1)
    # 3x3: the centre lies on the even pixels; 4x4: one tap more above and left than below.
    above = 1 if weight.shape[-1] == 3 else 2
    return functional.conv2d(functional.pad(apart, (above, 1, above, 1)), turned, s[f"{name}.bias"])


def _blocks(s: State, name: str, x: Tensor, blocks: int, factor: float) -> Tensor:
    for k in range(blocks):
        inner = _conv(s, f"{name}.{k}.body.0", x).clamp(min=0)
        x = x + factor * _conv(s, f"{name}.{k}.body.2", inner)
    return x


def _grown(s: State, name: str, x: Tensor, scale: int) -> Tensor:
    for k, r in enumerate(_stages(scale)):
        x = _shuffled(_conv(s, f"{name}.{2 * k}", x), r)
    return x


def _edsr(s: State, x: Tensor, scale: int, blocks: int, factor: float) -> Tensor:
    mean = 255 * MEAN
    first = _conv(s, "head.0", 255 * x - mean)
    h = first + _conv(s, f"body.{blocks}", _blocks(s, "body", first, blocks, factor))
    return (_conv(s, "tail.1", _grown(s, "tail.0", h, scale)) + mean) / 255


def _mdsr(s: State, x: Tensor, scale: int, blocks: int) -> Tensor:
    mean = 255 * MEAN
    first = _conv(s, "head.0", 255 * x - mean)
    first = _blocks(s, f"pre_process.{scale - 2}", first, 2, 1.0)
    h = first + _conv(s, f"body.{blocks}", _blocks(s, "body", first, blocks, 1.0))
    return (_conv(s, "tail.0", _grown(s, f"upsample.{scale - 2}", h, scale)) + mean) / 255


def _memnet(
    s: State, x: Tensor, blocks: int, recursions: int, shared: bool, multi: bool
) -> tuple[Tensor, list[Tensor]]:
    def unit(norm: str, conv: str, y: Tensor) -> Tensor:
        return _conv(s, conv, _bn(s, norm, y).clamp(min=0))

    memories = [unit("extract.norm", "extract.conv", x)]
    for m in range(blocks):
        h, shorts = memories[-1], []
        for r in range(recursions):
            first, second = (0, 1) if shared else (2 * r, 2 * r + 1)
            inner = unit(f"blocks.{m}.norms.{2 * r}", f"blocks.{m}.convs.{first}", h)
            h = h + unit(f"blocks.{m}.norms.{2 * r + 1}", f"blocks.{m}.convs.{second}", inner)
            shorts.append(h)
        gate = f"blocks.{m}.gate"
        memories.append(unit(f"{gate}.norm", f"{gate}.conv", torch.cat([*shorts, *memories], 1)))
    if not multi:
        return x + unit("norms.0", "reconstruct", memories[-1]), []
    each = [x + unit(f"norms.{m}", "reconstruct", memories[m + 1]) for m in range(blocks)]
    return sum((s["weights"][m] * each[m] for m in range(blocks)), torch.zeros_like(x)), each


Reference = Callable[[State, Tensor, int], Tensor]
REFERENCES: dict[str, tuple[Reference, tuple[int, ...]]] = {
    "vdsr": (lambda s, x, _: _vdsr(s, x, 20), (2,)),
    "vdsr:depth=2,features=5": (lambda s, x, _: _vdsr(s, x, 2), (2,)),
    "vdsr:depth=5,features=8": (lambda s, x, _: _vdsr(s, x, 5), (3,)),
    "fsrcnn": (lambda s, x, f: _fsrcnn(s, x, f, 4), (2, 3, 4, 8, 9)),
    "fsrcnn:d=7,s=3,m=1": (lambda s, x, f: _fsrcnn(s, x, f, 1), (2, 3, 4)),
    "srresnet": (lambda s, x, f: _srresnet(s, x, f, 16, True), (4,)),
    **{
        f"{name}:blocks=2,features=6,norm={norm}": (
            lambda s, x, f, on=norm == "batch": _srresnet(s, x, f, 2, on),
            (2, 3, 4, 8),
        )
        for name in ("srresnet", "srresnet-3x3", "srgan")
        for norm in ("batch", "none")
    },
    "perceptual": (lambda s, x, f: _perceptual(s, x, f, 4, "transposed3"), (4,)),
    **{
        f"perceptual:blocks=2,features=6,upsampler={kind}": (
            lambda s, x, f, kind=kind: _perceptual(s, x, f, 2, kind),
            (4, 8),
        )
        for kind in ("transposed3", "transposed4", "nearest3")
    },
    "edsr-baseline": (lambda s, x, f: _edsr(s, x, f, 16, 1.0), (2,)),
    "edsr-baseline:blocks=2,features=6": (lambda s, x, f: _edsr(s, x, f, 2, 1.0), (2, 3, 4, 8)),
    "edsr:features=8": (lambda s, x, f: _edsr(s, x, f, 32, 0.1), (2, 3, 4)),
    "mdsr-baseline": (lambda s, x, f: _mdsr(s, x, f, 16), (2,)),
    "mdsr:features=8": (lambda s, x, f: _mdsr(s, x, f, 80), (2, 3, 4)),
    "memnet:features=8": (lambda s, x, _: _memnet(s, x, 6, 6, True, False)[0], (2,)),
    "memnet-laljavid:features=8": (lambda s, x, _: _memnet(s, x, 6, 6, False, False)[0], (2,)),
    **{
        f"memnet:blocks=3,recursions=2,features=6,gate={gate},sharing={sharing},supervision={by}": (
            lambda s, x, _, on=sharing == "shared", by=by: _memnet(s, x, 3, 2, on, by == "multi")[
                0
            ],
            (2,),
        )
        for gate in (1, 3)
        for sharing in ("shared", "unshared")
        for by in ("single", "multi")
    },
}


@pytest.mark.parametrize(
    ("spec", "scale"),
    [(spec, scale) for spec, (_, scales) in REFERENCES.items() for scale in scales],
)
def test_a_network_is_what_its_paper_says(spec: str, scale: int) -> None:
    module = _stirred(_built(spec, scale))
    x = torch.rand(2, 3 if _card(spec).channels == "RGB" else 1, 5, 7, dtype=torch.float64)
    before = x.clone()
    with torch.no_grad():
        out = module(x)
        expected = REFERENCES[spec][0](module.state_dict(), x, scale)
    assert float(out.std()) > 1e-3
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-7)  # MEAN is rounded to float32
    assert torch.equal(x, before)


def test_every_name_has_a_reference() -> None:
    files = ("vdsr", "srresnet", "perceptual", "edsr", "memnet", "fsrcnn")
    named = {name for name in zoo.names() if _card(name).source.stem in files}
    assert {zoo.split(spec)[0] for spec in REFERENCES} == named


def test_memnet_gives_every_memory_its_own_sr() -> None:
    spec = "memnet:blocks=3,recursions=2,features=6,supervision=multi"
    module = _stirred(_built(spec, 2))
    assert isinstance(module, MemNet)
    x = torch.rand(1, 1, 6, 5, dtype=torch.float64)
    final, each = module.outputs(x)
    expected, each_expected = _memnet(module.state_dict(), x, 3, 2, True, True)
    torch.testing.assert_close(final, expected)
    torch.testing.assert_close(list(each), each_expected)
    single = _built("memnet:blocks=3,recursions=2,features=6", 2)
    assert isinstance(single, MemNet)
    assert single.outputs(x.float())[1] == ()


def test_memnet_starts_as_the_plain_mean_of_its_outputs() -> None:
    module = _built("memnet:blocks=4,recursions=1,features=4,supervision=multi", 2)
    assert isinstance(module, MemNet)
    final, each = module.outputs(torch.rand(2, 1, 6, 6))
    torch.testing.assert_close(final, torch.stack(each).mean(0))


@pytest.mark.parametrize("scale", [3, 5, 7, 9])
def test_fsrcnn_lays_its_filters_over_the_centres(scale: int) -> None:
    module = _built("fsrcnn:d=3,s=2,m=1", scale).double().eval()
    deconv = module.get_submodule("deconv")
    assert isinstance(deconv, nn.ConvTranspose2d)
    with torch.no_grad():
        deconv.weight.copy_(deconv.weight + deconv.weight.flip(2, 3))
    x = torch.zeros(1, 1, 13, 13, dtype=torch.float64)
    x[0, 0, 6, 6] = 1
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            with torch.no_grad():
                conv.weight.copy_(conv.weight + conv.weight.flip(2, 3))
    out = module(x) - module(torch.zeros_like(x))
    assert float(out.detach().abs().max()) > 0
    torch.testing.assert_close(out, out.flip(2, 3), rtol=0, atol=1e-12)


# --- counts ------------------------------------------------------------------------------------

# Weights, weights and biases, and multiplies per LR pixel at x2, x3, x4: the papers' layers,
# summed by hand as k*k*in*out, times the pixels a layer runs on. Normalisation and PReLU apart.
COUNTS = {
    "vdsr": ((664704, 665921, 2658816), (664704, 665921, 5982336), (664704, 665921, 10635264)),
    "fsrcnn": ((12464, 12637, 12464), (12464, 12637, 12464), (12464, 12637, 12464)),
    "srresnet": (
        (1395072, 1397507, 1441728),
        (1579392, 1582147, 1703808),
        (1542528, 1545219, 2218176),
    ),
    "srresnet-3x3": (
        (1367424, 1369859, 1372608),
        (1551744, 1554499, 1565568),
        (1514880, 1517571, 1983168),
    ),
    "edsr-baseline": (
        (1367424, 1369859, 1372608),
        (1551744, 1554499, 1565568),
        (1514880, 1517571, 1983168),
    ),
    "edsr": (
        (40711680, 40729603, 40732416),
        (43660800, 43680003, 43716096),
        (43070976, 43089923, 50252544),
    ),
    "memnet:sharing=unshared": (
        (2888832, 2893889, 11555328),
        (2888832, 2893889, 25999488),
        (2888832, 2893889, 46221312),
    ),
    "memnet-laljavid": (
        (4756608, 4761665, 19026432),
        (4756608, 4761665, 42809472),
        (4756608, 4761665, 76105728),
    ),
    "memnet:blocks=3,recursions=3,sharing=unshared": (
        (726144, 727553, 2904576),
        (726144, 727553, 6535296),
        (726144, 727553, 11618304),
    ),
    "memnet:blocks=4,recursions=4,sharing=unshared": (
        (1287296, 1289665, 5149184),
        (1287296, 1289665, 11585664),
        (1287296, 1289665, 20596736),
    ),
}
# One scale's path of the multi-scale networks, in the same columns.
ONE_PATH = {
    "mdsr": (
        (6495616, 6506499, 6500800),
        (6679936, 6691139, 6693760),
        (6643072, 6654211, 7111360),
    ),
    "mdsr-baseline": (
        (1777024, 1779715, 1782208),
        (1961344, 1964355, 1975168),
        (1924480, 1927427, 2392768),
    ),
}


def _layers(module: nn.Module) -> Iterator[nn.Conv2d | nn.ConvTranspose2d | nn.Linear]:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            yield layer


def _multiplies_run(module: nn.Module, planes: int, factor: int) -> float:
    """Multiplies per LR pixel inside an image, of the layers that really run, from their shapes.

    Work along the edges grows with one side only and drops out of the second difference.
    """
    counts: list[int] = []

    def add(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        weight = layer.get_parameter("weight")
        per_element = weight[0].numel()  # in * k * k, or out * k * k where transposed
        met = given[0] if isinstance(layer, nn.ConvTranspose2d) else out
        counts[-1] += met.numel() * per_element

    hooks = [layer.register_forward_hook(add) for layer in _layers(module)]
    for rows, columns in ((4, 6), (4, 12), (8, 6), (8, 12)):
        counts.append(0)
        module.eval()(torch.empty(1, planes, rows * factor, columns * factor, device="meta"))
    for hook in hooks:
        hook.remove()
    return (counts[0] - counts[1] - counts[2] + counts[3]) / 24


@pytest.mark.parametrize(
    ("spec", "scale"), [(spec, scale) for spec in {**COUNTS, **ONE_PATH} for scale in (2, 3, 4)]
)
def test_weights_and_multiplies_are_the_closed_forms(spec: str, scale: int) -> None:
    method = _card(spec)
    module = _on_meta(spec, scale)
    factor, planes = (scale, 1) if method.takes == "interpolated" else (1, 1)
    planes = 3 if method.channels == "RGB" else planes
    weights, both, multiplies = {**COUNTS, **ONE_PATH}[spec][scale - 2]
    assert method.multiplies is not None
    assert method.multiplies(scale, method.settings) == multiplies
    assert _multiplies_run(module, planes, factor) == multiplies
    if spec in COUNTS:
        counted = [layer.weight.numel() for layer in _layers(module)]
        biases = [layer.bias.numel() for layer in _layers(module) if layer.bias is not None]
        assert (sum(counted), sum(counted) + sum(biases)) == (weights, both)


@pytest.mark.parametrize(
    ("spec", "scale", "parameters"),
    [
        ("vdsr", 2, 665_921),
        ("edsr-baseline", 2, 1_369_859),
        ("edsr-baseline", 3, 1_554_499),
        ("edsr-baseline", 4, 1_517_571),
        ("edsr", 2, 40_729_603),
        ("edsr", 3, 43_680_003),
        ("edsr", 4, 43_089_923),
        *(("mdsr", scale, 7_953_987) for scale in (2, 3, 4)),
        *(("mdsr-baseline", scale, 3_227_203) for scale in (2, 3, 4)),
    ],
)
def test_all_parameters_of_networks_without_normalisation(
    spec: str, scale: int, parameters: int
) -> None:
    assert sum(p.numel() for p in _on_meta(spec, scale).parameters()) == parameters


@pytest.mark.parametrize(
    ("spec", "weights"),
    [
        ("memnet", 676_992),  # 12 * 36,864 + 57 * 4,096 + 2 * 576
        ("memnet:supervision=multi", 676_992),
        ("memnet:blocks=3,recursions=3", 6 * 36_864 + 15 * 4_096 + 2 * 576),
        ("memnet:gate=3", 12 * 36_864 + 57 * 36_864 + 2 * 576),
    ],
)
def test_memnets_recursions_share_their_weights(spec: str, weights: int) -> None:
    assert sum(layer.weight.numel() for layer in _layers(_on_meta(spec, 2))) == weights


@pytest.mark.parametrize(
    ("spec", "scale", "per_pixel"),
    [
        ("memnet", 2, 4 * 2_888_832),  # recursions share weights, not work
        ("memnet", 4, 16 * 2_888_832),
        ("memnet:supervision=multi", 3, 9 * (2_888_832 + 5 * 576)),
        ("srresnet:norm=none", 4, 2_218_176),
        ("srgan", 4, 2_218_176),
        ("srresnet", 8, 33 * 36_864 + 147_456 * (1 + 4 + 16) + 15_552 * (1 + 64)),
        ("edsr-baseline", 8, 33 * 36_864 + 147_456 * (1 + 4 + 16) + 1_728 * (1 + 64)),
        ("perceptual", 4, 8 * 36_864 + 36_864 * (1 + 4) + 15_552 * (1 + 16)),
        ("perceptual:upsampler=transposed4", 4, 8 * 36_864 + 65_536 * 5 + 15_552 * 17),
        ("perceptual:upsampler=nearest3", 4, 8 * 36_864 + 36_864 * (4 + 16) + 15_552 * 17),
        ("perceptual:upsampler=nearest3", 8, 8 * 36_864 + 36_864 * (4 + 16 + 64) + 15_552 * 65),
        ("fsrcnn:d=32,s=5,m=1", 3, 25 * 32 + 2 * 32 * 5 + 225 + 81 * 32),
        ("vdsr:depth=2", 2, 4 * 1_152),
    ],
)
def test_other_variants_cost_what_their_layers_do(spec: str, scale: int, per_pixel: int) -> None:
    method = _card(spec)
    factor = scale if method.takes == "interpolated" else 1
    planes = 3 if method.channels == "RGB" else 1
    assert method.multiplies is not None
    assert method.multiplies(scale, method.settings) == per_pixel
    assert _multiplies_run(_on_meta(spec, scale), planes, factor) == per_pixel


# --- gradients -----------------------------------------------------------------------------------

SMALL = [
    ("vdsr:depth=4,features=6", 2),
    ("fsrcnn:d=6,s=4,m=2", 3),
    *(
        (f"{name}:blocks=2,features=6,norm={norm}", 4)
        for name in ("srresnet", "srresnet-3x3", "srgan")
        for norm in ("batch", "none")
    ),
    *(
        (f"perceptual:blocks=2,features=6,upsampler={kind}", 4)
        for kind in ("transposed3", "transposed4", "nearest3")
    ),
    ("edsr-baseline:blocks=2,features=6", 3),
    ("edsr:blocks=2,features=6", 4),
    *(
        (f"{name}:blocks=3,recursions=2,features=6,supervision={by}", 2)
        for name in ("memnet", "memnet-laljavid")
        for by in ("single", "multi")
    ),
]


def _gradients(module: nn.Module, planes: int) -> dict[str, float]:
    torch.manual_seed(5)
    x = torch.rand(2, planes, 6, 6, dtype=torch.float64)
    out = module(x)
    (out * torch.randn_like(out)).sum().backward()
    return {
        name: 0.0 if p.grad is None else float(p.grad.abs().max())
        for name, p in module.named_parameters()
    }


@pytest.mark.parametrize(("spec", "scale"), SMALL)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_every_parameter(spec: str, scale: int, training: bool) -> None:
    planes = 3 if _card(spec).channels == "RGB" else 1
    module = _stirred(_built(spec, scale)).train(training)
    unreached = {name for name, size in _gradients(module, planes).items() if size < 1e-9}
    if training:  # a normalisation that follows takes a bias off again, so none reaches it
        last = ("tail.bias", "reconstruct.bias", "deconv.bias")
        normalised = any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
        unreached = {
            name
            for name in unreached
            if not (normalised and name.endswith("bias")) or name.endswith(last)
        }
    assert not unreached


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_only_the_selected_path_of_mdsr_is_trained(scale: int) -> None:
    module = _stirred(_built("mdsr-baseline:blocks=2,features=6", 2)).train()
    assert isinstance(module, MDSR)
    module.select(scale)
    out = module(torch.rand(1, 3, 5, 4, dtype=torch.float64))
    assert out.shape == (1, 3, 5 * scale, 4 * scale)
    out.square().sum().backward()
    for name, parameter in module.named_parameters():
        head, _, rest = name.partition(".")
        on_path = head not in ("pre_process", "upsample") or rest.startswith(f"{scale - 2}.")
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        assert reached == on_path, name
        assert on_path or parameter.grad is None, name


@pytest.mark.parametrize("spec", ONE_PATH)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_one_path_of_mdsr_has_the_parameters_of_the_closed_form(spec: str, scale: int) -> None:
    module = _built(spec, scale)
    module(torch.rand(1, 3, 2, 2)).sum().backward()
    trained = {name: p.numel() for name, p in module.named_parameters() if p.grad is not None}
    weights = sum(count for name, count in trained.items() if name.endswith("weight"))
    assert (weights, sum(trained.values())) == ONE_PATH[spec][scale - 2][:2]


# --- initialisation ------------------------------------------------------------------------------


def _spread_of(values: Tensor) -> float:
    return float(values.detach().double().square().mean().sqrt())


@pytest.mark.parametrize(
    ("spec", "gain"),
    [
        ("vdsr", 2.0),
        ("memnet:blocks=2", 2.0),
        ("memnet-laljavid:blocks=2", 2.0),
        ("fsrcnn:d=600,s=100,m=1", 2 / (1 + 0.25**2)),  # wide: its gain is near that of ReLU
    ],
)
def test_weights_start_as_he_draws_them(spec: str, gain: float) -> None:
    torch.manual_seed(0)
    module = _built(spec, 2)
    total, count = 0.0, 0
    for layer in _layers(module):
        assert layer.bias is not None
        assert not bool(layer.bias.any())
        if isinstance(layer, nn.ConvTranspose2d):
            continue
        fan_in = layer.weight[0].numel()
        unit = layer.weight.detach().double() * math.sqrt(fan_in / gain)
        n = unit.numel()
        assert _spread_of(unit) == pytest.approx(1, abs=5 / math.sqrt(2 * n))  # five sigma
        assert float(unit.mean()) == pytest.approx(0, abs=5 / math.sqrt(n))
        total, count = total + float((unit**4).sum()), count + n
    assert total / count == pytest.approx(3, abs=5 * math.sqrt(96 / count))  # a normal's kurtosis


def test_fsrcnns_last_layer_starts_as_srcnns() -> None:
    torch.manual_seed(0)
    weight = _built("fsrcnn", 2).get_parameter("deconv.weight")
    assert _spread_of(weight) == pytest.approx(1e-3, rel=5 / math.sqrt(2 * weight.numel()))


@pytest.mark.parametrize("spec", ["edsr-baseline:blocks=4", "mdsr:blocks=2", "srresnet:blocks=2"])
def test_silent_papers_get_uniform_weights_and_biases(spec: str) -> None:
    torch.manual_seed(0)
    for layer in _layers(_built(spec, 2)):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert layer.bias is not None
        for values in (layer.weight, layer.bias):
            assert float(values.detach().abs().max()) <= bound
        expected = bound / math.sqrt(3)
        slack = 5 * math.sqrt(0.2 / layer.weight.numel())
        assert _spread_of(layer.weight) == pytest.approx(expected, rel=slack)


def test_parametric_slopes_start_at_a_quarter() -> None:
    for spec in ("srresnet", "fsrcnn"):
        slopes = [m.weight for m in _built(spec, 4).modules() if isinstance(m, nn.PReLU)]
        assert all(torch.equal(slope, torch.tensor([0.25])) for slope in slopes)


# --- the authors' FSRCNN files -------------------------------------------------------------------


def _cell_array(values: list[Any]) -> NDArray[Any]:
    cells = np.empty((len(values), 1), object)
    for k, value in enumerate(values):
        cells[k, 0] = value
    return cells


def _fsrcnn_mat(d: int, s: int, m: int, last: list[Any] | None = None) -> dict[str, NDArray[Any]]:
    """The layout of the authors' files: cells of weights (in, f*f, out), biases and slopes."""
    rng = np.random.default_rng(4)
    shapes = [(1, 25, d), (d, 1, s), *[(s, 9, s)] * m, (s, 1, d), (1, 81, d)]
    weights = [rng.normal(size=shape) / math.sqrt(shape[0] * shape[1]) for shape in shapes]
    biases = [rng.normal(size=(n, 1)) for n in [d, s, *[s] * m, d, 1]]
    slopes = [np.array([[value]]) for value in rng.uniform(-0.5, 0.9, m + 3)] + (last or [])
    return {
        "weights_conv": _cell_array(weights),
        "biases_conv": _cell_array(biases),
        "prelu_conv": _cell_array(slopes),
    }


def _by_their_program(arrays: Mapping[str, Any], lr: NDArray[np.float64], scale: int) -> Any:
    """SR (scale*h, scale*w) of LR (h, w), step by step as `FSRCNN.m` and `deconv.m` go."""
    weights, biases, slopes = (
        arrays[f"{kind}_conv"][:, 0] for kind in ("weights", "biases", "prelu")
    )
    maps = [lr]
    for weight, bias, slope in zip(weights[:-1], biases[:-1], slopes, strict=False):
        count, taps, filters = weight.shape
        side = math.isqrt(taps)
        made = []
        for i in range(filters):
            total = np.zeros_like(lr)
            for j in range(count):
                kernel = weight[j, :, i].reshape(side, side, order="F")
                total += scipy.ndimage.correlate(maps[j], kernel, mode="nearest")
            total += bias[i, 0]
            made.append(np.maximum(total, 0) + slope[0, 0] * np.minimum(total, 0))
        maps = made
    rows, columns = lr.shape
    sr = np.zeros((scale * rows, scale * columns))
    for j, features in enumerate(maps):
        kernel = weights[-1][0, :, j].reshape(9, 9, order="F")
        edged = np.pad(features, 1, mode="edge")
        canvas = np.zeros((scale * (rows + 2) + 8, scale * (columns + 2) + 8))
        for row, column in np.ndindex(edged.shape):
            top, left = scale * row, scale * column
            canvas[top : top + 9, left : left + 9] += edged[row, column] * kernel
        sr += canvas[4 + scale :, 4 + scale :][: scale * rows, : scale * columns]
    return sr + biases[-1][0, 0]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("last", [[], [np.zeros((0, 0))]])
def test_fsrcnn_files_compute_what_their_program_does(
    scale: int, last: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / f"x{scale}.mat"
    arrays = _fsrcnn_mat(8, 3, 2, last)
    scipy.io.savemat(path, arrays)
    method = _card("fsrcnn:d=8,s=3,m=2")
    chosen = loading.of_tag(method, str(path), scale)
    module = loading.build(method, chosen, scale, torch.device("cpu")).double()
    lr = np.random.default_rng(1).uniform(size=(7, 6))
    found = module(torch.from_numpy(lr)[None, None])[0, 0].detach().numpy()
    expected = _by_their_program(arrays, lr, scale)
    if scale == 3:  # their `shave_x3` moves SR by one pixel, so its first row and column are ours
        found, expected = found[1:, 1:], expected[:-1, :-1]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": np.zeros((1, 1))}, "holds .*'more'.*expected weights_conv, biases_conv"),
        ({"biases_conv": _cell_array([np.zeros((8, 1))])}, "6 weights, 1 biases and 5 slopes"),
        ({"prelu_conv": _cell_array([np.zeros((1, 1))] * 4)}, "6 weights, 6 biases and 4 slopes"),
        (
            {"weights_conv": _cell_array([np.zeros((1, 24, 8))] * 6)},
            r"shape \(1, 24, 8\)",
        ),
        (
            {"weights_conv": _cell_array([np.zeros((1, 9, 2, 2))] * 6)},
            r"shape \(1, 9, 2, 2",
        ),
    ],
)
def test_another_layout_of_fsrcnn_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"not the authors' FSRCNN layout: .*{message}"):
        fsrcnn.from_mat({**_fsrcnn_mat(8, 3, 2), **change})


# --- the authors' EDSR and MDSR checkpoints ------------------------------------------------------


def _entries(shapes: Mapping[str, tuple[int, int, int]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(9)
    state = {}
    for name, (after, before, side) in shapes.items():
        bound = 1 / math.sqrt(before * side * side)
        weight = torch.rand(after, before, side, side, generator=generator)
        state[f"{name}.weight"] = bound * (2 * weight - 1)
        state[f"{name}.bias"] = bound * (2 * torch.rand(after, generator=generator) - 1)
    for name, sign in (("sub_mean", -1.0), ("add_mean", 1.0)):
        state[f"{name}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        state[f"{name}.bias"] = sign * 255 * torch.tensor([0.4488, 0.4371, 0.4040])
    return state


def _authors(name: str, scale: int) -> dict[str, Tensor]:
    """A state dict of the names and shapes in the authors' PyTorch checkpoints, by their rule."""
    blocks, width = {"edsr-baseline": (16, 64), "edsr": (32, 256)}.get(name, (16, 64))
    blocks = 80 if name == "mdsr" else blocks
    grown = {2: (4,), 3: (9,), 4: (4, 4)}
    shapes = {"head.0": (width, 3, 3)}
    for k in range(blocks):
        shapes[f"body.{k}.body.0"] = shapes[f"body.{k}.body.2"] = (width, width, 3)
    shapes[f"body.{blocks}"] = (width, width, 3)
    if name.startswith("mdsr"):
        for path in (0, 1, 2):
            for unit in ("0.body.0", "0.body.2", "1.body.0", "1.body.2"):
                shapes[f"pre_process.{path}.{unit}"] = (width, width, 5)
            for k, factor in enumerate(grown[path + 2]):
                shapes[f"upsample.{path}.{2 * k}"] = (factor * width, width, 3)
        shapes["tail.0"] = (3, width, 3)
    else:
        for k, factor in enumerate(grown[scale]):
            shapes[f"tail.0.{2 * k}"] = (factor * width, width, 3)
        shapes["tail.1"] = (3, width, 3)
    return _entries(shapes)


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name in ("edsr-baseline", "mdsr-baseline", "mdsr") for scale in (2, 3, 4)]
    + [("edsr", 2), ("edsr", 3), ("edsr", 4)],
)
def test_the_authors_checkpoints_load_strictly(name: str, scale: int) -> None:
    if name == "edsr":  # 43 million: the names and shapes alone
        shapes = {key: value.shape for key, value in _on_meta(name, scale).state_dict().items()}
        assert shapes == {key: value.shape for key, value in _authors(name, scale).items()}
        return
    state = _authors(name, scale)
    module = _built(name, scale).eval()
    x = torch.rand(1, 3, 3, 4)
    with torch.no_grad():
        before = module(x)
        module.load_state_dict(state, strict=True)
        after = module(x)
        blocks = 80 if name == "mdsr" else 16
        expected = (
            _mdsr(state, x, scale, blocks)
            if name.startswith("mdsr")
            else _edsr(state, x, scale, blocks, 1.0)
        )
    assert after.shape == (1, 3, 3 * scale, 4 * scale)
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)


def test_published_files_carry_the_hash_in_their_names() -> None:
    for name in ("edsr-baseline", "edsr", "mdsr-baseline", "mdsr"):
        method = _card(name)
        assert method.default_weights == "official"
        assert [weights.scale for weights in method.weights] == [2, 3, 4]
        for weights in method.weights:
            assert weights.path.endswith(f"-{weights.sha256}.pt")
            assert len(weights.sha256) == 8
            assert weights.path.startswith(name.replace("-", "_"))
            assert (f"_x{weights.scale}-" in weights.path) == name.startswith("edsr")


def test_a_mean_shift_is_no_parameter_and_shifts_by_the_mean() -> None:
    module = _built("edsr-baseline:blocks=1,features=2", 2)
    assert not [name for name, _ in module.named_parameters() if "mean" in name]
    bias = module.get_buffer("sub_mean.bias")
    torch.testing.assert_close(bias, torch.tensor([-114.444, -111.4605, -103.02]))
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    out = module(torch.rand(1, 3, 2, 2))
    torch.testing.assert_close(out, MEAN.expand(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sub_mean.weight", torch.eye(3).flip(0).view(3, 3, 1, 1), "sub_mean.weight mixes"),
        ("add_mean.weight", 2 * torch.eye(3).view(3, 3, 1, 1), "add_mean.weight mixes or scales"),
        ("sub_mean.bias", torch.tensor([-0.4488, -0.4371, -0.4040]), "colours are 0 to 1"),
        ("sub_mean.weight", torch.eye(3), "size mismatch for sub_mean.weight"),
    ],
)
@pytest.mark.parametrize("name", ["edsr-baseline:blocks=1,features=2", "mdsr:blocks=1,features=2"])
def test_another_mean_shift_is_refused(name: str, key: str, value: Tensor, message: str) -> None:
    module = _built(name, 2)
    state = {**module.state_dict(), key: value}
    with pytest.raises(RuntimeError, match=message):
        module.load_state_dict(state)


def test_a_copy_of_a_network_refuses_another_mean_shift_too() -> None:
    module = copy.deepcopy(_built("edsr-baseline:blocks=1,features=2", 2))
    state = {**module.state_dict(), "sub_mean.weight": torch.zeros(3, 3, 1, 1)}
    with pytest.raises(RuntimeError, match="expected the identity"):
        module.load_state_dict(state)


@pytest.mark.parametrize("scale", [3, 4])
def test_a_larger_scale_starts_from_x2(scale: int) -> None:
    trained = _built("edsr-baseline:blocks=2,features=6", 2).state_dict()
    network = _built("edsr-baseline:blocks=2,features=6", scale)
    assert isinstance(network, EDSR)
    fresh = {key: value.clone() for key, value in network.state_dict().items()}
    state = from_x2(trained, network)
    network.load_state_dict(state, strict=True)
    for key, value in network.state_dict().items():
        assert torch.equal(value, fresh[key] if key.startswith("tail.0.") else trained[key]), key
    assert not torch.equal(fresh["head.0.weight"], trained["head.0.weight"])


@pytest.mark.parametrize(
    ("spec", "at", "change", "message"),
    [
        ("edsr-baseline:blocks=3,features=6", 2, {}, "surplus body.2.body.0.weight"),
        ("edsr-baseline:blocks=1,features=6", 2, {}, "missing body.1.body.2.weight"),
        ("edsr-baseline:blocks=2,features=5", 2, {}, r"head.0.weight is \(5, 3, 3, 3\), expected"),
        ("edsr-baseline:blocks=2,features=6", 3, {}, r"tail.0.0.weight is \(54, 6, 3, 3\)"),
        ("edsr-baseline:blocks=2,features=6", 4, {}, "surplus tail.0.2.weight"),
        ("edsr-baseline:blocks=2,features=6", 2, {"x": torch.zeros(1)}, "surplus x;"),
    ],
)
def test_what_is_no_x2_network_is_refused(
    spec: str, at: int, change: dict[str, Tensor], message: str
) -> None:
    network = _built("edsr-baseline:blocks=2,features=6", 4)
    assert isinstance(network, EDSR)
    with pytest.raises(InputError, match=message):
        from_x2({**_built(spec, at).state_dict(), **change}, network)


# --- scales and settings that do not exist -------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _built("edsr-baseline", 5), "EDSR has no x5; choose from: x2, x3, x4, x8"),
        (lambda: _built("fsrcnn", 10), "no x10: its last filters are 9x9"),
        (lambda: _built("mdsr:blocks=1,features=2", 8), "MDSR has no x8"),
        (lambda: _built("srresnet:blocks=1", 6), "SRResNet has no x6"),
        (lambda: _built("perceptual:blocks=1", 2), "no x2; choose from: x4, x8"),
        (lambda: _built("vdsr:depth=1", 2), "depth=1: the first and the last layer"),
        (lambda: _built("memnet:gate=5", 2), "gate=5: choose from: 1, 3"),
        (lambda: _built("srresnet:norm=layer", 4), "norm=layer: choose from: batch, none"),
        (
            lambda: Perceptual(4, blocks=1, features=2, upsampler="bicubic"),
            "no upsampler 'bicubic'; choose from: transposed3",
        ),
        (lambda: SRResNet(1, blocks=1, features=2, kernel=3, batch_norm=True), "no x1"),
    ],
)
def test_what_no_paper_has_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_cards_offer_the_scales_that_build() -> None:
    for name in ("srresnet", "srresnet-3x3", "srgan", "perceptual", "edsr", "mdsr"):
        method = _card(name)
        for scale in method.scales:
            x = torch.empty(1, 3, 1, 1, device="meta")
            assert _on_meta(name, scale).eval()(x).shape == (1, 3, scale, scale)


# --- SRGAN's discriminator -----------------------------------------------------------------------


def _discriminated(s: State, x: Tensor) -> Tensor:
    k = 0
    for layer in range(8):
        stride = 1 + layer % 2
        x = functional.conv2d(
            x, s[f"features.{k}.weight"], s[f"features.{k}.bias"], padding=1, stride=stride
        )
        k += 1
        if layer > 0:
            x = _bn(s, f"features.{k}", x)
            k += 1
        x = torch.where(x > 0, x, 0.2 * x)
        k += 1
    x = x.reshape(x.shape[0], -1) @ s["judge.0.weight"].T + s["judge.0.bias"]
    x = torch.where(x > 0, x, 0.2 * x) @ s["judge.2.weight"].T + s["judge.2.bias"]
    return 1 / (1 + torch.exp(-x))


@pytest.mark.parametrize("patch", [16, 24, 31])
def test_the_discriminator_is_what_its_paper_says(patch: int) -> None:
    module = _stirred(Discriminator(patch, 0.0, "none"))
    for name, parameter in module.named_parameters():
        if name.startswith("judge") and parameter.ndim == 2:
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
    x = torch.rand(3, 3, patch, patch, dtype=torch.float64)
    with torch.no_grad():
        out, expected = module(x), _discriminated(module.state_dict(), x)
    assert out.shape == (3, 1)
    assert bool(((out > 0) & (out < 1)).all())
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(("patch", "side"), [(16, 1), (64, 4), (96, 6), (97, 7)])
def test_the_discriminators_parameters_are_the_hand_count(patch: int, side: int) -> None:
    with torch.device("meta"):
        module = Discriminator(patch, 0.3, "both")
    widths = [3, 64, 64, 128, 128, 256, 256, 512, 512]
    convolutions = sum(9 * a * b + b for a, b in pairwise(widths))
    normalisation = 2 * sum(widths[2:])
    dense = 512 * side * side * 1024 + 1024 + 1024 + 1
    total = sum(p.numel() for p in module.parameters())
    assert total == convolutions + normalisation + dense
    if patch == 96:
        assert total == 23_565_505
    assert module(torch.empty(2, 3, patch, patch, device="meta")).shape == (2, 1)


@pytest.mark.parametrize("place", PLACES)
def test_dropout_acts_in_training_alone_and_where_it_is_put(place: str) -> None:
    module = Discriminator(16, 0.0 if place == "none" else 0.5, place)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0
    x = torch.rand(4, 3, 16, 16)
    module.eval()
    assert torch.equal(module(x), module(x))
    zeroed: dict[str, bool] = {}

    def whole_channels(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def look(_: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
            zeroed[name] = bool((out.flatten(2) == 0).all(2).any())
            if zeroed[name]:
                kept = out != 0
                torch.testing.assert_close(out[kept], 2 * given[0][kept])

        return look

    for name, layer in module.named_modules():
        if isinstance(layer, nn.Dropout2d):
            layer.register_forward_hook(whole_channels(name))
    module.train()
    torch.manual_seed(1)
    first = module(x)
    torch.manual_seed(2)
    assert torch.equal(first, module(x)) == (place == "none")
    in_convolutions = place in ("convolutions", "both")
    assert len(zeroed) == (8 if in_convolutions else 0)
    assert all(zeroed.values())
    order = [type(layer).__name__ for layer in module.features]
    after = [order[k - 1] for k, kind in enumerate(order) if kind == "Dropout2d"]
    assert after == ["LeakyReLU"] * len(zeroed)
    dense = [type(layer).__name__ for layer in module.judge]
    dropped = ["Dropout"] if place in ("dense", "both") else []
    assert dense == ["Linear", "LeakyReLU", *dropped, "Linear"]


@pytest.mark.parametrize(
    ("patch", "dropout", "place", "message"),
    [
        (15, 0.0, "none", "patch 15; give a side of at least 16"),
        (96, 1.0, "both", r"dropout 1.0; give a rate in \[0, 1\)"),
        (96, -0.1, "dense", r"give a rate in \[0, 1\)"),
        (96, math.nan, "dense", r"give a rate in \[0, 1\)"),
        (96, 0.5, "none", "at place 'none' drops nothing"),
        (96, 0.5, "input", "place 'input'; choose from: none, convolutions, dense, both"),
    ],
)
def test_a_discriminator_that_makes_no_sense_is_refused(
    patch: int, dropout: float, place: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Discriminator(patch, dropout, place)


def test_a_discriminator_refuses_patches_of_another_size() -> None:
    with pytest.raises(InputError, match=r"patches of shape \(3, 16, 17\); expected \(3, 16, 16\)"):
        Discriminator(16, 0.0, "none")(torch.rand(1, 3, 16, 17))


# --- VDSR's .mat ---------------------------------------------------------------------------------


def _cells(*arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    row = np.empty((1, len(arrays)), dtype=object)
    for k, array in enumerate(arrays):
        row[0, k] = array
    return row


def _struct(weights: np.ndarray[Any, Any], biases: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    struct = np.empty((1, 1), dtype=[("weight", object), ("bias", object)])
    struct[0, 0] = (weights, biases)
    return struct


def _small_mat() -> tuple[list[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((3, 3, 1, 4), (3, 3, 4, 4), (3, 3, 4))]
    return weights, [rng.normal(size=(n, 1)) for n in (4, 4, 1)]


def test_vdsrs_cells_are_rows_columns_in_out(tmp_path: Path) -> None:
    weights, biases = _small_mat()
    scipy.io.savemat(
        tmp_path / "vdsr.mat", {"model": {"weight": _cells(*weights), "bias": _cells(*biases)}}
    )
    loaded = scipy.io.loadmat(tmp_path / "vdsr.mat")
    state = from_mat({key: loaded[key] for key in loaded if not key.startswith("__")})
    network = VDSR(3, 4)
    network.load_state_dict(state, strict=True)
    assert float(state["layers.1.weight"][3, 2, 0, 1]) == np.float32(weights[1][0, 1, 2, 3])
    x = torch.rand(1, 1, 6, 5)
    h = x[0].double().numpy()
    for k, (cell, bias) in enumerate(zip(weights, biases, strict=True)):
        bank = cell.reshape(3, 3, h.shape[0], -1)
        padded = np.pad(h, ((0, 0), (1, 1), (1, 1)))
        out = np.zeros((bank.shape[3], 6, 5)) + bias[:, :, None]
        for row in range(3):
            for column in range(3):
                window = padded[:, row : row + 6, column : column + 5]
                out += np.einsum("io,irc->orc", bank[row, column], window)
        h = np.maximum(out, 0) if k < 2 else out
    expected = torch.from_numpy(h).float() + x[0]
    torch.testing.assert_close(network(x)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"weights_conv1": np.zeros(3)}, r"it holds \['weights_conv1'\], not \['model'\]"),
        ({"model": np.zeros((2, 2))}, "fields none; expected one struct"),
        (
            {"model": _struct(_cells(*_small_mat()[0]), _cells(np.zeros(4)))},
            "3 cells of weights, 1",
        ),
        (
            {"model": _struct(_cells(np.zeros((3, 3, 2, 4))), _cells(np.zeros((4, 1))))},
            r"layer 1 has weights of shape \(3, 3, 2, 4\) and 4 biases; expected .*, 1, 4\)",
        ),
        (
            {"model": _struct(_cells(np.zeros((3, 3, 1, 4))), _cells(np.zeros((5, 1))))},
            "layer 1 has weights of shape .* and 5 biases",
        ),
        (
            {"model": _struct(_cells(np.zeros((9, 4))), _cells(np.zeros((4, 1))))},
            r"layer 1 has weights of shape \(9, 4\)",
        ),
    ],
)
def test_what_is_no_vdsr_mat_is_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_mat(arrays)


def test_vdsrs_official_weights_serve_best_in_the_order_that_is_read(mirror: Path) -> None:
    method = _card("vdsr")
    published = {(w.origin, w.path, w.sha256) for w in method.weights}
    assert len(published) == 1
    assert [w.scale for w in method.weights] == [2, 3, 4]
    origin, path, _ = published.pop()
    file = mirror / origin.replace(":", "/").replace("@", "/") / path
    state = from_mat({"model": scipy.io.loadmat(file)["model"]})
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    stripes = torch.sign(torch.sin(0.12 * columns + 0.07 * rows))
    hr = 0.5 + 0.35 * stripes.double() * torch.where(rows > 48, 1.0, 0.6)
    blurred = imresize(imresize(hr[None], Fraction(1, 3)), 3)
    network = VDSR(20, 64)
    errors = []
    for order in (
        lambda bank: bank,
        lambda bank: bank.transpose(2, 3),
        lambda bank: bank.flip(2, 3),
        lambda bank: bank.flip(2),
    ):
        turned = {k: order(v).contiguous() if v.ndim == 4 else v for k, v in state.items()}
        network.load_state_dict(turned, strict=True)
        with torch.no_grad():
            sr = network(blurred[None].float())[0].double()
        errors.append(float((sr - hr)[:, 3:-3, 3:-3].square().mean()))
    assert errors[0] == min(errors)
    assert errors[0] < float((blurred - hr)[:, 3:-3, 3:-3].square().mean())
