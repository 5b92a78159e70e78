from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter, laplace
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from bench import metrics
from bench.files import fetch, weight_file
from bench.files.fetch import FetchError, RemoteFile
from bench.metrics import alex, detail, psnr, ssim
from bench.progress import Progress
from bench.protocol import Protocol, load
from zoo.errors import InputError

Image = NDArray[np.float64]

PUBLISHED = alex.FILES
PLANAR = load("srcnn2014")
VOLUME = load("edsr2017-div2k")
exact = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def torchvisions_alexnet() -> nn.Module:
    """AlexNet as torchvision builds it, written out: features, pooling, classifier."""
    net = nn.Module()
    net.features = nn.Sequential(
        *(nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU()),
        nn.MaxPool2d(kernel_size=3, stride=2),
        *(nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU()),
        nn.MaxPool2d(kernel_size=3, stride=2),
        *(nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU()),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )
    net.avgpool = nn.AdaptiveAvgPool2d((6, 6))
    with torch.device("meta"):  # 58 million parameters that no feature depends on
        net.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, 1000),
        )
    return net


def file_of(net: nn.Module, path: Path, **changes: Tensor) -> RemoteFile:
    """A checkpoint in the mirror of torchvision's names and shapes; the classifier is zero."""
    state = {
        key: torch.zeros(1).expand(value.shape) if value.is_meta else value
        for key, value in net.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state | {k.replace("_", "."): v for k, v in changes.items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return RemoteFile("https://download.example.org/models", path.name, digest)


@pytest.fixture(scope="module", autouse=True)
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nn.Module]:
    """Random weights in the place of AlexNet's, fetched by the first digits of their hash."""
    folder = tmp_path_factory.mktemp("alexnet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torchvisions_alexnet().eval().requires_grad_(False)
    file = file_of(net, folder / "mirror" / "download.example.org" / "models" / "random.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SISRBENCH_MIRROR", str(folder / "mirror"))
        patch.setenv("SISRBENCH_CACHE", str(folder / "cache"))
        patch.setattr(alex, "FILES", (file,))
        metrics.download("alex", Progress())
        yield net


def pair(height: int, width: int, channels: int, seed: int, smooth: bool) -> tuple[Image, Image]:
    """HR and a noisy SR of it, (H, W, C) in [0, 255]."""
    rng = np.random.default_rng(seed)
    hr = rng.uniform(0, 255, (height, width, channels))
    if smooth:
        hr = gaussian_filter(hr, (3, 3, 0))
    return hr, np.clip(hr + rng.normal(0, 8, hr.shape), 0, 255)


def planes(image: Image) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


pairs = st.builds(
    pair,
    height=st.integers(11, 45),
    width=st.integers(11, 45),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 10**6),
    smooth=st.booleans(),
)


@exact
@given(pairs)
def test_psnr_matches_skimage(images: tuple[Image, Image]) -> None:
    hr, sr = images
    theirs = peak_signal_noise_ratio(hr, sr, data_range=255)
    assert psnr.measure(planes(sr), planes(hr), PLANAR) == pytest.approx(theirs, rel=0, abs=1e-9)


def test_psnr_by_hand() -> None:
    sr = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    hr = torch.tensor([[[1.0, 2.0], [3.0, 8.0]]])  # MSE 16 / 4
    assert psnr.measure(sr, hr, PLANAR) == pytest.approx(20 * math.log10(255 / 2), abs=1e-12)


def test_psnr_averages_the_error_over_channels_before_the_logarithm() -> None:
    hr = torch.zeros(3, 4, 4)
    sr = hr.clone()
    sr[0] = 6  # MSE 36 in one of three channels
    assert psnr.measure(sr, hr, PLANAR) == pytest.approx(10 * math.log10(255**2 / 12), abs=1e-12)


def planar_reference(sr: Image, hr: Image) -> float:
    options: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "data_range": 255}
    return float(
        structural_similarity(hr, sr, channel_axis=-1, use_sample_covariance=False, **options)
    )


def volume_reference(sr: Image, hr: Image) -> float:
    """MATLAB's ssim of two H x W x 3 arrays, window by window of three dimensions."""

    def mean(x: Image) -> Image:
        return gaussian_filter(x, sigma=1.5, truncate=3.5, mode="nearest")

    mean_x, mean_y = mean(sr), mean(hr)
    variance_x, variance_y = mean(sr**2) - mean_x**2, mean(hr**2) - mean_y**2
    covariance = mean(sr * hr) - mean_x * mean_y
    c1, c2 = 6.5025, 58.5225
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)).mean())


@exact
@given(pairs)
def test_planar_ssim_matches_skimage(images: tuple[Image, Image]) -> None:
    hr, sr = images
    ours = ssim.measure(planes(sr), planes(hr), PLANAR)
    assert ours == pytest.approx(planar_reference(sr, hr), rel=0, abs=1e-9)


@exact
@given(pairs)
def test_volume_ssim_matches_scipys_gaussian_over_the_volume(images: tuple[Image, Image]) -> None:
    hr, sr = images
    ours = ssim.measure(planes(sr), planes(hr), VOLUME)
    assert ours == pytest.approx(volume_reference(sr, hr), rel=0, abs=1e-9)


def test_planar_ssim_of_rgb_is_the_mean_over_channels() -> None:
    hr, sr = (planes(image) for image in pair(20, 31, 3, 1, smooth=True))
    single = [ssim.measure(sr[c : c + 1], hr[c : c + 1], PLANAR) for c in range(3)]
    assert ssim.measure(sr, hr, PLANAR) == pytest.approx(sum(single) / 3, abs=1e-12)


def test_volume_ssim_differs_from_planar() -> None:
    hr, sr = (planes(image) for image in pair(30, 30, 3, 2, smooth=True))
    assert abs(ssim.measure(sr, hr, VOLUME) - ssim.measure(sr, hr, PLANAR)) > 1e-3


def test_ssim_of_constant_images_by_hand() -> None:
    sr, hr = torch.full((1, 12, 13), 100.0).double(), torch.full((1, 12, 13), 120.0).double()
    expected = (2 * 100 * 120 + 6.5025) / (100**2 + 120**2 + 6.5025)
    assert ssim.measure(sr, hr, PLANAR) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("protocol", [PLANAR, VOLUME], ids=["2-D", "3-D"])
@pytest.mark.parametrize("name", [name for name in metrics.names() if name != "detail"])
def test_metric_is_symmetric(name: str, protocol: Protocol) -> None:
    hr, sr = (planes(image) for image in pair(17, 23, 3, 3, smooth=False))
    there = metrics.load(name).measure(sr, hr, protocol)
    assert metrics.load(name).measure(hr, sr, protocol) == pytest.approx(there, abs=1e-12)


@pytest.mark.parametrize("protocol", [PLANAR, VOLUME], ids=["2-D", "3-D"])
@pytest.mark.parametrize(
    ("name", "best"), [("psnr", math.inf), ("ssim", 1.0), ("alex", 1.0), ("detail", 1.0)]
)
def test_identical_images_give_the_best_value(name: str, best: float, protocol: Protocol) -> None:
    hr = planes(pair(17, 23, 3, 4, smooth=False)[0])
    assert metrics.load(name).measure(hr.clone(), hr, protocol) == best


@pytest.mark.parametrize("name", metrics.names())
def test_metric_leaves_its_images_as_they_were(name: str) -> None:
    hr, sr = (planes(image) for image in pair(17, 23, 3, 5, smooth=False))
    before = hr.clone(), sr.clone()
    metrics.load(name).measure(sr, hr, PLANAR)
    assert torch.equal(hr, before[0])
    assert torch.equal(sr, before[1])


@pytest.mark.parametrize("protocol", [PLANAR, VOLUME], ids=["2-D", "3-D"])
def test_ssim_needs_eleven_pixels_each_way(protocol: Protocol) -> None:
    eleven, ten = torch.zeros(1, 11, 11).double(), torch.zeros(1, 10, 30).double()
    assert ssim.measure(eleven, eleven, protocol) == 1.0
    with pytest.raises(InputError, match="30x10 px are left to compare; SSIM needs 11x11"):
        ssim.measure(ten, ten, protocol)


@pytest.mark.parametrize("band", [1, 43 * 3, 43 * 3 * 7, 43 * 3 * 29])
@pytest.mark.parametrize("protocol", [PLANAR, VOLUME])
def test_bands_of_rows_give_the_ssim_of_the_whole_image(
    monkeypatch: pytest.MonkeyPatch, protocol: Protocol, band: int
) -> None:
    torch.manual_seed(0)
    hr = (255 * torch.rand(3, 31, 43).double()).round()
    sr = (hr + 20 * torch.randn_like(hr)).clamp(0, 255)
    whole = ssim.measure(sr, hr, protocol)
    monkeypatch.setattr(ssim, "BAND", band)
    assert ssim.measure(sr, hr, protocol) == pytest.approx(whole, rel=0, abs=1e-13)


MEMORY = """
import resource, sys, torch
from bench.metrics import ssim
from bench.protocol import load
hr = torch.zeros(1, 6000, 8000).double()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(ssim.measure(hr, hr, load(sys.argv[1])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("protocol", [PLANAR, VOLUME])
def test_memory_of_ssim_does_not_grow_with_the_image(protocol: Protocol) -> None:
    command = [sys.executable, "-c", MEMORY, protocol.name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    value, kibibytes = done.stdout.split()
    assert float(value) == 1
    assert int(kibibytes) * 1024 < 2.3e9  # 4.4e9 without bands


def test_only_the_ssim_rule_chooses_the_window() -> None:
    hr, sr = (planes(image) for image in pair(20, 20, 3, 6, smooth=True))
    turned = replace(PLANAR, ssim="3-D")
    assert ssim.measure(sr, hr, turned) == ssim.measure(sr, hr, VOLUME)


def test_unknown_metric_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no metric 'psnrr'; did you mean 'psnr'\?"):
        metrics.load("psnrr")


def test_quantities_are_every_metric_of_every_channel() -> None:
    assert {"psnr_y", "psnr_rgb", "ssim_y", "ssim_rgb"} <= metrics.quantities().keys()
    assert {"alex_y", "alex_rgb"} <= metrics.quantities().keys()


# Detail


def laplacian(image: Image) -> float:
    """Mean absolute Laplacian of (H, W, C) by SciPy, edges left out."""
    planes = [laplace(image[..., c])[1:-1, 1:-1] for c in range(image.shape[2])]
    return float(np.abs(np.stack(planes)).mean())


@exact
@given(pairs)
def test_detail_is_the_ratio_of_scipys_laplacians(images: tuple[Image, Image]) -> None:
    hr, sr = images
    ours = detail.measure(planes(sr), planes(hr), PLANAR)
    assert ours == pytest.approx(laplacian(sr) / laplacian(hr), rel=1e-12)


def test_detail_by_hand() -> None:
    hr, sr = torch.zeros(1, 3, 4).double(), torch.zeros(1, 3, 4).double()
    hr[0, 1, 1] = 10  # Laplacian -40 there, 10 at the other inner pixel
    sr[0, 1, 1], sr[0, 0, 2] = 10, 20  # and 30 where 20 more are above it
    assert detail.measure(sr, hr, PLANAR) == (40 + 30) / (40 + 10)


def test_detail_of_a_ramp_is_none() -> None:
    ramp = torch.arange(7.0).double().expand(1, 5, 7)
    assert detail.measure(ramp, planes(pair(5, 7, 1, 1, smooth=False)[0]), PLANAR) == 0


def test_blurring_takes_detail_and_noise_gives_more() -> None:
    hr, noisy = pair(40, 45, 3, 2, smooth=True)
    values = [
        detail.measure(planes(gaussian_filter(hr, (sigma, sigma, 0))), planes(hr), PLANAR)
        for sigma in (2.0, 1.0, 0.5)
    ]
    assert values == sorted(values)
    assert values[-1] < 1 < detail.measure(planes(noisy), planes(hr), PLANAR)


def test_detail_beside_none_is_one_or_infinite() -> None:
    flat, grain = torch.full((1, 5, 5), 70.0).double(), torch.zeros(1, 5, 5).double()
    grain[0, 2, 2] = 1
    assert detail.measure(flat / 2, flat, PLANAR) == 1
    assert detail.measure(grain, flat, PLANAR) == math.inf
    assert detail.measure(flat, grain, PLANAR) == 0


def test_detail_needs_three_pixels_each_way() -> None:
    image = torch.zeros(1, 3, 9).double()
    assert detail.measure(image, image, PLANAR) == 1
    with pytest.raises(InputError, match="9x2 px are left to compare; detail needs 3x3"):
        detail.measure(image[:, :2], image[:, :2], PLANAR)


def test_detail_is_measured_only_where_it_is_asked_for() -> None:
    assert metrics.is_asked("detail")
    assert not metrics.is_asked("psnr")
    assert "detail" not in metrics.default_names()
    assert metrics.available([], Progress())[0] == metrics.default_names()
    assert "detail" in metrics.available(["detail"], Progress())[0]


# ALEX

MIDDLE = PLANAR
WHOLE = replace(PLANAR, alex_input="resize to 224")
AS_IT_IS = replace(PLANAR, alex_input="as it is")


def resized(image: Image, height: int, width: int) -> Image:
    """(H, W, C) by Pillow's bilinear filter, which is stretched when shrinking."""
    planes = [
        Picture.fromarray(image[..., c].astype(np.float32)).resize(
            (width, height), Picture.Resampling.BILINEAR
        )
        for c in range(image.shape[2])
    ]
    return np.stack([np.asarray(plane, np.float64) for plane in planes], axis=2)


def shown(image: Image, rule: str) -> Image:
    """What AlexNet is shown of (H, W, 1 or 3) in [0, 255]: (h, w, 3), normalised."""
    height, width = image.shape[:2]
    if rule == "resize to 224":
        image = resized(image, 224, 224)
    elif rule == "resize to 256, crop 224":
        if height <= width:
            image = resized(image, 256, int(256 * width / height))
        else:
            image = resized(image, int(256 * height / width), 256)
        top, left = (round((side - 224) / 2.0) for side in image.shape[:2])
        image = image[top : top + 224, left : left + 224]
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    out: Image = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return out


SIZES = [(100, 131), (300, 410), (511, 273), (256, 256), (64, 300)]


@pytest.mark.parametrize("rules", [MIDDLE, WHOLE, AS_IT_IS], ids=lambda rules: rules.alex_input)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_alex_is_shown_what_pillow_makes_of_the_image(
    height: int, width: int, channels: int, rules: Protocol
) -> None:
    image = pair(height, width, channels, 7, smooth=False)[0]
    ours = alex.prepared(planes(image), rules)
    theirs = planes(shown(image, rules.alex_input))
    assert ours.dtype == torch.float32
    assert ours.shape == theirs.shape
    # a few float32 roundings, here and in Pillow, of values up to 2.7
    assert float((ours - theirs).abs().max()) < 2e-6


@pytest.mark.parametrize("rules", [MIDDLE, WHOLE, AS_IT_IS], ids=lambda rules: rules.alex_input)
def test_alex_features_are_torchvisions(rules: Protocol, alexnet: nn.Module) -> None:
    image = planes(pair(130, 171, 3, 8, smooth=True)[0])
    x = alex.prepared(image, rules)
    theirs = torch.flatten(alexnet.avgpool(alexnet.features(x[None])), 1)
    ours = alex.features(x, alex.network(torch.device("cpu")))
    assert theirs.shape == (1, 9216)
    assert float(ours.std()) > 1e-4
    assert torch.equal(ours, theirs[0])


def test_alex_is_the_cosine_of_the_features(alexnet: nn.Module) -> None:
    hr, sr = pair(130, 171, 3, 9, smooth=True)
    vectors = []
    for image in (sr, hr):
        x = planes(shown(image, "resize to 256, crop 224")).float()
        vectors.append(alexnet.avgpool(alexnet.features(x[None])).flatten().double().numpy())
    a, b = vectors
    expected = float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
    assert expected < 1 - 1e-5
    assert alex.measure(planes(sr), planes(hr), MIDDLE) == pytest.approx(expected, abs=1e-7)


def test_alex_cosine_by_hand() -> None:
    assert alex.cosine(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])) == pytest.approx(
        math.sqrt(0.5), abs=1e-15
    )
    assert alex.cosine(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])) == 0
    zero = torch.zeros(2)
    assert (alex.cosine(zero, zero), alex.cosine(zero, torch.ones(2))) == (1, 0)


def test_alex_of_luma_is_that_of_three_equal_channels() -> None:
    hr, sr = (planes(image) for image in pair(70, 91, 1, 10, smooth=True))
    luma = alex.measure(sr, hr, MIDDLE)
    assert luma == alex.measure(sr.expand(3, -1, -1), hr.expand(3, -1, -1), MIDDLE)


def test_alex_depends_on_what_the_network_is_shown() -> None:
    hr, sr = (planes(image) for image in pair(100, 131, 3, 11, smooth=True))
    found = {alex.measure(sr, hr, rules) for rules in (MIDDLE, WHOLE, AS_IT_IS)}
    assert len(found) == 3
    assert all(0 < value < 1 for value in found)


def test_alex_as_it_is_needs_63_pixels_each_way(alexnet: nn.Module) -> None:
    least = torch.zeros(1, 63, 63).double()
    assert alex.measure(least, least, AS_IT_IS) == 1
    with pytest.raises(RuntimeError):  # so it is AlexNet's own limit
        alexnet.features(torch.zeros(1, 3, 62, 63))
    less = torch.zeros(1, 63, 62).double()
    with pytest.raises(InputError, match="62x63 px are left to compare; ALEX as it is needs 63x63"):
        alex.measure(less, less, AS_IT_IS)
    assert alex.measure(less[:, :1, :1], less[:, :1, :1], MIDDLE) == 1


def test_alex_refuses_an_input_that_there_is_not() -> None:
    image = torch.zeros(1, 63, 63).double()
    odd = replace(PLANAR, alex_input="crop 224")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no alex_input 'crop 224'; did you mean .*resize to 224"):
        alex.measure(image, image, odd)


def test_alex_loads_its_network_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads = weight_file.read_tensors, []

    def counted(path: Path) -> dict[str, Tensor]:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(weight_file, "read_tensors", counted)
    alex._loaded.cache_clear()
    images = [[planes(image) for image in pair(40, 50, 3, seed, smooth=True)] for seed in range(3)]
    alone = [alex.measure(sr, hr, WHOLE) for hr, sr in images]
    alex._loaded.cache_clear()
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda pair: alex.measure(pair[1], pair[0], WHOLE), images))
    assert len(reads) == 2
    assert together == pytest.approx(alone, abs=1e-6)
    assert len(set(alone)) == 3


def test_alexnet_is_pinned_by_the_publishers_digits() -> None:
    (file,) = PUBLISHED
    assert file.url == "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    assert file.sha256 == "7be5be79"


def test_alexnet_has_the_parameters_of_the_published_file(alexnet: nn.Module) -> None:
    assert sum(value.numel() for value in alex.wanted().values()) == 61_100_840
    theirs = {key: value.shape for key, value in alexnet.state_dict().items()}
    assert {key: value.shape for key, value in alex.wanted().items()} == theirs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features_0_bias": torch.ones(63)}, r"features\.0\.bias is \(63,\), expected \(64,\)"),
        ({"classifier_6_bias": torch.ones(10)}, r"classifier\.6\.bias is \(10,\), expected"),
        ({"features_12_bias": torch.ones(1)}, r"surplus features\.12\.bias"),
        ({"features_3_bias": torch.full((192,), math.nan)}, r"features\.3\.bias holds NaN"),
    ],
    ids=["misshapen", "misshapen classifier", "surplus", "NaN"],
)
def test_file_that_is_not_alexnet_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alexnet: nn.Module,
    changes: dict[str, Tensor],
    message: str,
) -> None:
    folder = tmp_path / "download.example.org" / "models"
    monkeypatch.setattr(alex, "FILES", (file_of(alexnet, folder / "other.pth", **changes),))
    monkeypatch.setenv("SISRBENCH_MIRROR", str(tmp_path))
    metrics.download("alex", Progress())
    with pytest.raises(InputError, match=rf"other\.pth does not fit AlexNet: {message}.*; no"):
        alex.measure(torch.zeros(1, 9, 9), torch.zeros(1, 9, 9), MIDDLE)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no mirror, and an origin at a port where nobody listens."""
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SISRBENCH_MIRROR")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(RemoteFile, "url", property(lambda file: f"http://127.0.0.1:1/{file.path}"))


def test_metric_whose_file_is_not_here_says_how_to_get_it(nowhere: None) -> None:
    image = torch.zeros(1, 9, 9)
    with pytest.raises(InputError, match=r"alex needs random\.pth, which is not in .*; sisr"):
        alex.measure(image, image, MIDDLE)
    with pytest.raises(FetchError, match=r"^metric alex: cannot download random\.pth: .*; run"):
        metrics.download("alex", Progress())


def test_metric_whose_file_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path))
    metrics.download("alex", Progress())
    fetch.local_path(alex.FILES[0]).write_bytes(b"other")
    with pytest.raises(InputError, match=r"alex needs random\.pth, which is not in"):
        alex.measure(torch.zeros(1, 9, 9), torch.zeros(1, 9, 9), MIDDLE)


def test_default_metrics_need_nothing_from_elsewhere() -> None:
    special = ("alex", "detail")
    assert metrics.default_names() == [name for name in metrics.names() if name not in special]
    assert {"psnr", "ssim"} <= set(metrics.default_names())
    assert metrics.remote_files("psnr") == ()
    assert metrics.licence("psnr") == ""
    assert "ImageNet" in metrics.licence("alex")


def test_wanted_metric_is_available_where_its_file_can_be_had() -> None:
    assert metrics.available(["alex", "detail", "psnr"], Progress()) == (metrics.names(), {})
    assert metrics.available([], Progress()) == (metrics.default_names(), {})


def test_wanted_metric_is_left_out_with_a_reason_where_not(nowhere: None) -> None:
    names, lacking = metrics.available(["alex"], Progress())
    assert names == metrics.default_names()
    assert list(lacking) == ["alex"]
    assert "cannot download random.pth" in lacking["alex"]


def test_metric_that_does_not_exist_is_not_available() -> None:
    with pytest.raises(InputError, match="no metric 'alexx'; did you mean 'alex'"):
        metrics.available(["alexx"], Progress())
