"""Feature networks: what perceptual losses compare SR and HR by.

A text such as `vgg19:relu5_4` names a network and the layer after which it is cut. Of VGG (Simonyan
and Zisserman, ICLR 2015), `conv2_2` is the second convolution of the second block before its ReLU,
`relu2_2` the same after it, as in the papers:

- `vgg16:relu2_2`: Johnson et al., ECCV 2016. deepsense.ai's "7th layer of VGG16" is the module of
  torchvision with index 7, `vgg16:conv2_2`.
- `vgg19:relu2_2`, `vgg19:relu5_4`: phi_2,2 and phi_5,4 of Ledig et al., CVPR 2017, "after
  activation".

The weights of VGG are torchvision's, trained there from scratch; the papers took the authors'.
torchvision shows them images in [0, 1] without the mean and deviation of ImageNet.

SqueezeNet v1.1 (Iandola et al., 2016; `conv1`, `relu1`, and `fire2` to `fire9` after the
concatenation) is 3 MB and stands in for VGG where that cannot be fetched. No paper measures with
it, a result must bear its `title`, and no paper's weight of a loss suits it: the squares of its
features of a photograph average some 2500 at `fire5`. Its weights are the authors' Caffe model as
converted for Keras, made for BGR in [0, 255] without the mean that Keras' `preprocess_input` takes
out: (103.939, 116.779, 123.68). Neither its first convolution nor its poolings pad, and what does
not fill a window is not seen, as in the Keras model; Caffe's own poolings pad at the end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import torch
from torch import Tensor, nn

from bench.files import fetch, weight_file
from bench.files.fetch import RemoteFile
from zoo.errors import InputError, one_line, unknown


@dataclass(frozen=True)
class Features:
    """A network, and the layer after which it is cut.

    Raises:
        InputError: there is no such network, or it has no such layer.
    """

    network: str
    layer: str

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise unknown("feature network", self.network, NETWORKS)
        layers = _names(NETWORKS[self.network].outline())
        if self.layer not in layers or self.layer.startswith("pool"):
            choices = [name for name in layers if not name.startswith("pool")]
            raise unknown(f"layer of {self.network}", self.layer, choices)

    @property
    def text(self) -> str:
        """What `parse` reads: `vgg16:relu2_2`."""
        return f"{self.network}:{self.layer}"

    @property
    def title(self) -> str:
        """For results: the text, and of a stand-in that it is one.

        >>> parse("squeezenet1.1:fire5").title
        'squeezenet1.1:fire5, a stand-in for VGG'
        """
        return f"{self.text}, a stand-in for VGG" if self.stand_in else self.text

    @property
    def stand_in(self) -> bool:
        """Whether it only takes the place of the network that papers use."""
        return NETWORKS[self.network].stand_in

    @property
    def stride(self) -> int:
        """Pixels of the image from one place of the feature maps to the next."""
        return 1 << len(self._windows())  # each halves

    @property
    def least(self) -> int:
        """The side from which on an image has a feature, in pixels.

        >>> parse("vgg19:relu5_4").least, parse("squeezenet1.1:fire5").least
        (16, 15)
        """
        side = 1
        for window in reversed(self._windows()):
            side = 2 * (side - 1) + window
        return side

    def _windows(self) -> list[int]:
        kind = NETWORKS[self.network]
        before = _names(kind.outline())
        before = before[: before.index(self.layer) + 1]
        return [kind.windows[name] for name in before if name in kind.windows]


def parse(text: str) -> Features:
    """The features that a text names.

    >>> parse("vgg16:conv2_2")
    Features(network='vgg16', layer='conv2_2')

    Raises:
        InputError: it is not NETWORK:LAYER, or there is no such network or layer.
    """
    network, colon, layer = text.strip().partition(":")
    if not colon:
        raise InputError(
            f"features {text!r}; give NETWORK:LAYER, such as vgg19:relu5_4; "
            f"networks: {', '.join(NETWORKS)}"
        )
    return Features(network, layer)


def files(features: Features) -> tuple[RemoteFile, ...]:
    """What is to be fetched before the network can be had."""
    return (NETWORKS[features.network].file,)


def licence(features: Features) -> str:
    """Terms of the network's weights."""
    return NETWORKS[features.network].licence


def network(features: Features, device: torch.device) -> nn.Module:
    """The network up to its layer, frozen, float32, in evaluation.

    It maps RGB (N, 3, H, W) in [0, 1], or luma (N, 1, H, W) as three equal channels, to the layer's
    maps (N, C, h, w), through which gradients flow back to the image. An image that is smaller than
    `features.least` is an InputError.

    Raises:
        InputError: the file is not here, or does not hold the network.
    """
    kind = NETWORKS[features.network]
    path = fetch.local_path(kind.file)
    if not fetch.is_here(kind.file):
        raise InputError(
            f"{features.text} needs {kind.file.path}, which is not in {path.parent}; run again "
            "with a network, or set SISRBENCH_MIRROR to a folder that holds it"
        )
    whole = kind.outline()
    state = kind.read(path, whole, kind.name)
    layers = whole[: _names(whole).index(features.layer) + 1]
    layers.load_state_dict({key: state[key] for key in layers.state_dict()}, assign=True)
    return _Network(features, kind, layers).requires_grad_(False).eval().to(device)


class _Network(nn.Module):
    """What is taken out of the image, and the layers."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Features, kind: _Kind, layers: nn.Module) -> None:
        super().__init__()
        self.text, self.least = features.text, features.least
        for name, values in (("mean", kind.mean), ("deviation", kind.deviation)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.layers = layers

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if min(height, width) < self.least:
            raise InputError(
                f"{width}x{height} px to compare; {self.text} needs {self.least}x{self.least}: "
                "take larger patches, a smaller border, or an earlier layer"
            )
        image = image.expand(-1, 3, -1, -1)
        found: Tensor = self.layers((image - self.mean) / self.deviation)
        return found


class _Fire(nn.Module):
    """Fire module: few channels, of which many are made by 1x1 and by 3x3, each with a ReLU."""

    def __init__(self, taken: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(taken, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.squeeze1x1(x))
        return torch.relu_(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def _vgg(convolutions: tuple[int, ...]) -> nn.Sequential:
    """Configuration D or E of Simonyan and Zisserman, Table 1, by its convolutions per block."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    taken = 3
    for block, (count, width) in enumerate(
        zip(convolutions, (64, 128, 256, 512, 512), strict=True), 1
    ):
        for number in range(1, count + 1):
            layers[f"conv{block}_{number}"] = nn.Conv2d(taken, width, 3, padding=1)
            layers[f"relu{block}_{number}"] = nn.ReLU(inplace=True)
            taken = width
        layers[f"pool{block}"] = nn.MaxPool2d(_POOLS_OF_VGG[f"pool{block}"], 2)
    return nn.Sequential(layers)


def _squeezenet() -> nn.Sequential:
    """SqueezeNet v1.1 without its classifier."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(3, 64, 3, stride=2)
    layers["relu1"] = nn.ReLU(inplace=True)
    taken = 64
    for number, squeezed in zip(range(2, 10), (16, 16, 32, 32, 48, 48, 64, 64), strict=True):
        pool = f"pool{number - 1}"
        if pool in _WINDOWS_OF_SQUEEZENET:
            layers[pool] = nn.MaxPool2d(_WINDOWS_OF_SQUEEZENET[pool], 2)
        layers[f"fire{number}"] = _Fire(taken, squeezed, 4 * squeezed)
        taken = 8 * squeezed
    return nn.Sequential(layers)


_POOLS_OF_VGG = {f"pool{block}": 2 for block in range(1, 6)}
_WINDOWS_OF_SQUEEZENET = {"conv1": 3, "pool1": 3, "pool3": 3, "pool5": 3}


def _names(layers: nn.Sequential) -> list[str]:
    return [name for name, _ in layers.named_children()]


# Reading
_CLASSIFIER_OF_VGG = {
    "classifier.0": (4096, 25088),
    "classifier.3": (4096, 4096),
    "classifier.6": (1000, 4096),
}
"""Part of torchvision's files and checked with them, though nothing here uses it."""


def _read_torchvisions(path: Path, whole: nn.Sequential, name: str) -> dict[str, Tensor]:
    """VGG's state dict by this module's names, of a file that counts its layers."""
    published = {}
    for index, (layer, module) in enumerate(whole.named_children()):
        for key in module.state_dict():
            published[f"features.{index}.{key}"] = f"{layer}.{key}"
    outline = whole.state_dict()
    wanted = {theirs: outline[ours] for theirs, ours in published.items()}
    for layer, shape in _CLASSIFIER_OF_VGG.items():
        wanted[f"{layer}.weight"] = torch.empty(shape, device="meta")
        wanted[f"{layer}.bias"] = torch.empty(shape[:1], device="meta")
    state = weight_file.fitting(wanted, weight_file.read_tensors(path), path, name)
    return {ours: state[theirs] for theirs, ours in published.items()}


def _read_keras(path: Path, whole: nn.Sequential, name: str) -> dict[str, Tensor]:
    """SqueezeNet's state dict for RGB, of a Keras file for BGR with kernels (h, w, in, out)."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            arrays = {
                layer: [
                    torch.from_numpy(file[layer][array][()])
                    for array in file[layer].attrs["weight_names"]
                ]
                for layer in (entry.decode() for entry in file.attrs["layer_names"])
            }
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise InputError(
            f"{path} cannot be read as Keras weights: {one_line(error, 120)}; get it again"
        ) from error
    state = {}
    for layer, found in arrays.items():
        if found and [array.ndim for array in found] != [4, 1]:
            shapes = ", ".join(str(tuple(array.shape)) for array in found)
            raise InputError(
                f"{path} does not fit {name}: {layer} holds arrays of {shapes}, expected a kernel "
                "(h, w, in, out) and a bias; nothing was loaded"
            )
        for kind, array in zip(("weight", "bias"), found, strict=False):
            oihw = array.permute(3, 2, 0, 1).contiguous() if kind == "weight" else array
            state[f"{layer.replace('/', '.')}.{kind}"] = oihw
    fit = weight_file.fitting(whole.state_dict(), state, path, name)
    fit["conv1.weight"] = fit["conv1.weight"].flip(1)
    return fit


# The networks
@dataclass(frozen=True)
class _Kind:
    """One network, whole."""

    name: str
    file: RemoteFile
    licence: str
    build: Callable[[], nn.Sequential]
    read: Callable[[Path, nn.Sequential, str], dict[str, Tensor]]
    """State dict of a file, by its path, the layers on the meta device and the network's name."""
    windows: Mapping[str, int]
    """Side of the window of each layer of stride 2; those do not pad."""
    mean: tuple[float, float, float]
    """Taken out of RGB in [0, 1]."""
    deviation: tuple[float, float, float]
    stand_in: bool = False

    def outline(self) -> nn.Sequential:
        """Every layer by its name, on the meta device."""
        with torch.device("meta"):
            return self.build()


def _vgg_of_torchvision(name: str, digits: str, convolutions: tuple[int, ...]) -> _Kind:
    path = f"{name.lower()}-{digits}.pth"
    return _Kind(
        name=name,
        file=RemoteFile("https://download.pytorch.org/models", path, digits),
        licence="none stated for the weights; torchvision is BSD-3-Clause, ImageNet is for "
        "research only",
        build=partial(_vgg, convolutions),
        read=_read_torchvisions,
        windows=_POOLS_OF_VGG,
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
    )


NETWORKS = {
    "vgg16": _vgg_of_torchvision("VGG16", "397923af", (2, 2, 3, 3, 3)),
    "vgg19": _vgg_of_torchvision("VGG19", "dcbb9e9d", (2, 2, 4, 4, 4)),
    "squeezenet1.1": _Kind(
        name="SqueezeNet v1.1",
        file=RemoteFile(
            "github:DeepCognition/keras-squeezenet@a73d4339aa4d37c51a0b3ba044bed55477abec73",
            "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5",
            "17154246284f555591549ac2c83e127abfbf4307dc4b0060fdaa2931d0fa38da",
        ),
        licence="MIT, by keras-squeezenet, which converted them; ImageNet is for research only",
        build=_squeezenet,
        read=_read_keras,
        windows=_WINDOWS_OF_SQUEEZENET,
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        deviation=(1 / 255, 1 / 255, 1 / 255),
        stand_in=True,
    ),
}
"""Every network by the name that a text gives it."""
