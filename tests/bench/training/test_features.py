"""Feature networks against layers written out here, and against convolutions by NumPy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import skimage
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from bench.files import fetch
from bench.files.fetch import RemoteFile
from bench.progress import Progress
from bench.training import features
from zoo.errors import InputError

Image = NDArray[np.float64]
CPU = torch.device("cpu")
PUBLISHED = dict(features.NETWORKS)
INDEX = {  # by torchvision's count of VGG's modules
    "vgg16": {"conv2_2": 7, "relu4_3": 22},
    "vgg19": {"relu2_2": 8, "relu5_4": 35},
}
COUNTS = {"vgg16": 138_357_544, "vgg19": 143_667_240}
D = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
E = [64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0]
"""Channels of the convolutions, 0 for a pooling: Simonyan and Zisserman, Table 1."""


class Vgg(nn.Module):
    features: nn.Sequential
    classifier: nn.Sequential


def torchvisions_vgg(widths: list[int]) -> Vgg:
    """VGG as torchvision builds it, written out, with random weights that keep the variance."""
    layers: list[nn.Module] = []
    taken = 3
    for width in widths:
        if not width:
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        convolution = nn.Conv2d(taken, width, kernel_size=3, padding=1)
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / (9 * taken)))
        layers += [convolution, nn.ReLU()]
        taken = width
    net = Vgg()
    net.features = nn.Sequential(*layers)
    with torch.device("meta"):  # 124 million parameters that no feature depends on
        net.classifier = nn.Sequential(
            *(nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()),
            nn.Linear(4096, 1000),
        )
    net.eval().requires_grad_(False)
    return net


@pytest.fixture(scope="module")
def vggs() -> dict[str, Vgg]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {"vgg16": torchvisions_vgg(D), "vgg19": torchvisions_vgg(E)}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a mirror of one test."""
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SISRBENCH_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def offer(own: Path, monkeypatch: pytest.MonkeyPatch, network: str, kept: Path) -> None:
    """Take a file as what is published of a network, by the first digits of its hash."""
    digits = hashlib.sha256(kept.read_bytes()).hexdigest()[:8]
    name = f"{network}-{digits}{kept.suffix}"
    file = RemoteFile("https://download.example.org/models", name, digits)
    kept.rename(own / file.layout)
    kind = replace(features.NETWORKS[network], file=file)
    monkeypatch.setitem(features.NETWORKS, network, kind)


def offer_vgg(
    own: Path, monkeypatch: pytest.MonkeyPatch, network: str, state: dict[str, Tensor | None]
) -> None:
    """A checkpoint of torchvision's names and shapes; the classifier is zero."""
    folder = own / "download.example.org" / "models"
    folder.mkdir(parents=True)
    whole = {
        key: torch.zeros(1).expand(value.shape) if value.is_meta else value
        for key, value in state.items()
        if value is not None
    }
    torch.save(whole, folder / "new.pth")
    offer(own, monkeypatch, network, folder / "new.pth")


def fetched(text: str) -> nn.Module:
    wanted = features.parse(text)
    fetch.fetch_missing(text, features.files(wanted), Progress())
    return features.network(wanted, CPU)


def random_image(height: int, width: int, count: int = 2) -> Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(3))


# VGG


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_vgg_is_torchvisions_up_to_its_layer(
    network: str, vggs: dict[str, Vgg], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_vgg(own, monkeypatch, network, dict(vggs[network].state_dict()))
    image = random_image(37, 50)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    shown = (image.double().numpy().transpose(0, 2, 3, 1) - mean) / deviation
    x = torch.from_numpy(shown.transpose(0, 3, 1, 2)).float()
    for layer, index in INDEX[network].items():
        with torch.no_grad():
            theirs = vggs[network].features[: index + 1](x)
        ours = fetched(f"{network}:{layer}")(image)
        assert ours.shape == theirs.shape
        assert float(theirs.std()) > 0.05
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        assert bool((ours >= 0).all()) == layer.startswith("relu")


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
def test_vgg_has_the_parameters_of_the_published_file(network: str, vggs: dict[str, Vgg]) -> None:
    assert sum(value.numel() for value in vggs[network].state_dict().values()) == COUNTS[network]


def test_files_are_pinned_by_the_publishers_digits() -> None:
    found = {name: kind.file for name, kind in PUBLISHED.items()}
    start = "https://download.pytorch.org/models"
    assert found["vgg16"].url == f"{start}/vgg16-397923af.pth"
    assert found["vgg19"].url == f"{start}/vgg19-dcbb9e9d.pth"
    assert (found["vgg16"].sha256, found["vgg19"].sha256) == ("397923af", "dcbb9e9d")
    assert len(found["squeezenet1.1"].sha256) == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features.7.bias": None}, r"missing features\.7\.bias"),
        ({"classifier.6.weight": None}, r"missing classifier\.6\.weight"),
        ({"features.3.bias": torch.ones(64)}, r"surplus features\.3\.bias"),
        ({"features.0.bias": torch.ones(63)}, r"features\.0\.bias is \(63,\), expected \(64,\)"),
        ({"classifier.6.bias": torch.ones(10)}, r"classifier\.6\.bias is \(10,\), expected"),
        ({"features.0.bias": torch.full((64,), math.nan)}, r"features\.0\.bias holds NaN"),
    ],
    ids=["missing", "no classifier", "surplus", "misshapen", "misshapen classifier", "NaN"],
)
def test_file_that_is_not_vgg_is_refused(
    changes: dict[str, Tensor | None],
    message: str,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with torch.device("meta"):
        state = torchvisions_vgg(D).state_dict()
    offer_vgg(own, monkeypatch, "vgg16", {**state, **changes})
    with pytest.raises(InputError, match=rf"\.pth does not fit VGG16: {message}.*; nothing was"):
        fetched("vgg16:conv1_1")


def test_gradients_flow_to_the_image_and_to_nothing_else(
    vggs: dict[str, Vgg], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        state = torchvisions_vgg(D).state_dict()
    first = vggs["vgg16"].features[:8].state_dict(prefix="features.")
    offer_vgg(own, monkeypatch, "vgg16", {**state, **first})
    net = fetched("vgg16:conv2_2")
    assert not net.training
    assert not any(value.requires_grad for value in net.parameters())
    image = random_image(8, 8).requires_grad_()
    net(image).square().mean().backward()
    assert image.grad is not None
    assert bool(image.grad.abs().amin() > 0)
    small = random_image(4, 5, 1).double().requires_grad_()
    assert torch.autograd.gradcheck(net.double(), small, eps=1e-7, atol=1e-5)


# SqueezeNet

SQUEEZED = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}
"""Channels of each fire module's squeeze; its two expansions have four times as many each."""


def shapes_of_keras() -> dict[str, tuple[int, ...]]:
    """Kernels of SqueezeNet v1.1 without its classifier: (height, width, in, out)."""
    found: dict[str, tuple[int, ...]] = {"conv1": (3, 3, 3, 64)}
    taken = 64
    for number, squeezed in SQUEEZED.items():
        found[f"fire{number}/squeeze1x1"] = (1, 1, taken, squeezed)
        found[f"fire{number}/expand1x1"] = (1, 1, squeezed, 4 * squeezed)
        found[f"fire{number}/expand3x3"] = (3, 3, squeezed, 4 * squeezed)
        taken = 8 * squeezed
    return found


def keras_file(path: Path, change: Callable[[dict[str, list[Any]]], Any]) -> None:
    """Random weights as Keras 1 lays a model out: groups that name their arrays, in order."""
    rng = np.random.default_rng(5)
    arrays: dict[str, list[Any]] = {"input_1": [], "pool1": []}
    for layer, shape in shapes_of_keras().items():
        gain = math.sqrt(2 / math.prod(shape[:3])) / (60 if layer == "conv1" else 1)
        arrays[layer] = [rng.normal(0, gain, shape), rng.normal(0, 0.1, shape[-1])]
    change(arrays)
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in arrays])
        for number, (layer, found) in enumerate(arrays.items()):
            group = file.create_group(layer)
            names = [f"uniform{number}", f"{layer}_b", "more"][: len(found)]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, array in zip(names, found, strict=True):
                group[name] = np.asarray(array, np.float32)


def offer_keras(
    own: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, list[Any]]], Any]
) -> None:
    path = own / "download.example.org" / "models" / "new.h5"
    keras_file(path, change)
    offer(own, monkeypatch, "squeezenet1.1", path)


def correlate(x: Image, kernel: Image, bias: Image, stride: int) -> Image:
    """A Keras convolution of (H, W, C) without padding, by NumPy."""
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (0, 1))
    found: Image = np.einsum("hwcij,ijco->hwo", windows[::stride, ::stride], kernel, optimize=True)
    return found + bias


def pooled(x: Image) -> Image:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))[::2, ::2]
    found: Image = windows.max((-2, -1))
    return found


def keras_by_numpy(path: Path, rgb: Image) -> dict[str, Image]:
    """Every layer's maps (H, W, C) of an image in [0, 1], in the layout and order of the file."""
    with h5py.File(path) as file:
        arrays = {}
        for layer in shapes_of_keras():
            kernel, bias = (file[layer][name][()] for name in file[layer].attrs["weight_names"])
            arrays[layer] = kernel.astype(np.float64), bias.astype(np.float64)
    bgr = rgb[..., ::-1] * 255 - np.array([103.939, 116.779, 123.68])
    found = {"conv1": correlate(bgr, *arrays["conv1"], stride=2)}
    x = found["relu1"] = np.maximum(found["conv1"], 0)
    for number in SQUEEZED:
        if number in (2, 4, 6):
            x = pooled(x)
        x = np.maximum(correlate(x, *arrays[f"fire{number}/squeeze1x1"], stride=1), 0)
        wide = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        each = (
            correlate(x, *arrays[f"fire{number}/expand1x1"], stride=1),
            correlate(wide, *arrays[f"fire{number}/expand3x3"], stride=1),
        )
        x = found[f"fire{number}"] = np.maximum(np.concatenate(each, -1), 0)
    return found


def assert_is_numpys(path: Path) -> None:
    rgb = random_image(47, 53, 1)
    theirs = keras_by_numpy(path, rgb[0].double().numpy().transpose(1, 2, 0))
    for layer, expected in theirs.items():
        ours = fetched(f"squeezenet1.1:{layer}")(rgb)[0].numpy().transpose(1, 2, 0)
        assert ours.shape == expected.shape
        assert float(expected.std()) > 0
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_squeezenet_is_what_numpy_makes_of_a_keras_file(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_keras(own, monkeypatch, lambda arrays: None)
    (file,) = features.files(features.parse("squeezenet1.1:fire5"))
    assert_is_numpys(own / file.layout)


def test_published_squeezenet_is_what_numpy_makes_of_it(mirror: Path) -> None:
    (file,) = features.files(features.parse("squeezenet1.1:fire5"))
    assert_is_numpys(mirror / file.layout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("fire5/expand3x3"), r"missing fire5\.expand3x3\.weight"),
        (lambda arrays: arrays.update({"fire2/squeeze1x1": []}), r"missing fire2\.squeeze1x1\.wei"),
        (
            lambda arrays: arrays.update(conv10=[np.ones((1, 1, 512, 9)), np.ones(9)]),
            r"surplus conv10\.weight",
        ),
        (
            lambda arrays: arrays.update(conv1=[np.ones((3, 3, 4, 64)), np.ones(64)]),
            r"conv1\.weight is \(64, 4, 3, 3\), expected \(64, 3, 3, 3\)",
        ),
        (
            lambda arrays: arrays["conv1"].append(np.ones(64)),
            r"conv1 holds arrays of \(3, 3, 3, 64\), \(64,\), \(64,\), expected a kernel",
        ),
        (lambda arrays: arrays["conv1"].reverse(), r"conv1 holds arrays of \(64,\), \(3, 3, 3, 64"),
        (lambda arrays: arrays["conv1"][1].fill(math.inf), r"conv1\.bias holds NaN or infinity"),
    ],
    ids=["missing", "empty", "surplus", "misshapen", "three arrays", "swapped", "infinity"],
)
def test_file_that_is_not_squeezenet_is_refused(
    change: Callable[[dict[str, list[Any]]], Any],
    message: str,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer_keras(own, monkeypatch, change)
    with pytest.raises(InputError, match=rf"\.h5 does not fit SqueezeNet v1\.1: {message}.*; noth"):
        fetched("squeezenet1.1:relu1")


def test_damaged_keras_file_is_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own / "download.example.org" / "models" / "new.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no HDF5")
    offer(own, monkeypatch, "squeezenet1.1", path)
    with pytest.raises(InputError, match=r"\.h5 cannot be read as Keras weights: OSError: .*; get"):
        fetched("squeezenet1.1:relu1")


def photograph() -> Image:
    """A cat, (150, 225, 3) in [0, 1]."""
    whole = Picture.open(Path(skimage.__file__).parent / "data" / "chelsea.png")
    return np.asarray(whole.resize((225, 150), Picture.Resampling.LANCZOS), np.float64) / 255


def test_published_squeezenet_minds_blur_and_not_brightness(mirror: Path) -> None:
    """At the same squared error, a blurred photograph is further from it than a darker one."""
    photo = photograph()
    changed = {sigma: gaussian_filter(photo, (sigma, sigma, 0)) for sigma in (0.5, 1.0, 2.0)}
    error = math.sqrt(float(np.mean((changed[2.0] - photo) ** 2)))
    assert float(photo.min()) < error < float(photo.mean())
    versions = [photo, *changed.values(), photo - error]
    for layer in ("fire3", "fire5"):
        net = fetched(f"squeezenet1.1:{layer}")
        maps = [net(torch.from_numpy(x).permute(2, 0, 1)[None].float()) for x in versions]
        same, slight, more, much, darker = (float((m - maps[0]).square().mean()) for m in maps)
        assert same == 0 < slight < more < much
        assert much > 3 * darker


# Both


def test_luma_is_three_equal_channels(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer_keras(own, monkeypatch, lambda arrays: None)
    net = fetched("squeezenet1.1:fire3")
    luma = random_image(20, 21)[:, :1]
    assert torch.equal(net(luma), net(luma.repeat(1, 3, 1, 1)))
    assert not torch.equal(net(luma), net(random_image(20, 21)))


def test_gradient_of_squeezenet_is_that_of_finite_differences(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_keras(own, monkeypatch, lambda arrays: None)
    net = fetched("squeezenet1.1:fire2").double()
    image = random_image(9, 9, 1).double().requires_grad_()
    target = net(random_image(9, 9, 2)[1:].double())

    def loss(x: Tensor) -> Tensor:
        difference: Tensor = net(x) - target
        return difference.square().mean()

    assert torch.autograd.gradcheck(loss, image, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "least", "stride"),
    [
        *(("vgg16:conv2_1", 2, 2), ("vgg19:relu5_4", 16, 16)),
        *(("squeezenet1.1:relu1", 3, 2), ("squeezenet1.1:fire2", 7, 4)),
        *(("squeezenet1.1:fire5", 15, 8), ("squeezenet1.1:fire9", 31, 16)),
    ],
)
def test_least_image_has_one_feature_and_a_smaller_one_none(
    text: str, least: int, stride: int, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = features.parse(text)
    assert (wanted.least, wanted.stride) == (least, stride)
    if text.startswith("vgg"):
        with torch.device("meta"):
            state = torchvisions_vgg(D if "16" in text else E).state_dict()
        offer_vgg(own, monkeypatch, wanted.network, dict(state))
    else:
        offer_keras(own, monkeypatch, lambda arrays: None)
    net = fetched(text)
    assert net(random_image(least, least)).shape[-2:] == (1, 1)
    assert net(random_image(least + stride, least)).shape[-2:] == (2, 1)
    with pytest.raises(InputError, match=rf"^{least + 5}x{least - 1} px to compare; .* {least}x"):
        net(random_image(least - 1, least + 5))


def test_stand_in_says_so() -> None:
    found = features.parse(" squeezenet1.1:fire5 ")
    assert found == features.Features("squeezenet1.1", "fire5")
    assert (found.stand_in, found.text) == (True, "squeezenet1.1:fire5")
    assert found.title == "squeezenet1.1:fire5, a stand-in for VGG"
    real = features.parse("vgg19:relu5_4")
    assert (real.stand_in, real.title) == (False, "vgg19:relu5_4")
    assert "MIT" in features.licence(found)
    assert "none stated" in features.licence(real)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vgg19", "features 'vgg19'; give NETWORK:LAYER, .*networks: vgg16, vgg19, squeezenet1.1"),
        ("vgg13:relu2_2", "no feature network 'vgg13'; did you mean .*squeezenet1.1, vgg16, vgg19"),
        ("vgg16:relu3_4", "no layer of vgg16 'relu3_4'; did you mean .* choose from: conv1_1, con"),
        ("vgg16:pool2", "no layer of vgg16 'pool2'; .*: conv1_1, "),
        ("squeezenet1.1:fire10", "no layer of squeezenet1.1 'fire10'; did you mean .* conv1, fire"),
        ("", "features ''; give NETWORK:LAYER"),
    ],
)
def test_features_that_there_are_not_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        features.parse(text)
    assert "\n" not in str(caught.value)


def test_network_whose_file_is_not_here_says_how_to_get_it(own: Path) -> None:
    with pytest.raises(InputError, match=r"vgg16:relu2_2 needs vgg16-397923af\.pth, .*; run again"):
        features.network(features.parse("vgg16:relu2_2"), CPU)
