"""Feature networks: the networks by which perceptual losses compare SR and HR.

The text `vgg19:relu5_4` names a network and the network's last layer to use. In VGG (Simonyan and
Zisserman, ICLR 2015), `conv2_2` is the second convolution of the second block before the ReLU, and
`relu2_2` is the same after the ReLU, as in the papers:

- `vgg16:relu2_2`: Johnson et al., ECCV 2016. deepsense.ai's "7th layer of VGG16" is the module of
  torchvision with index 7, `vgg16:conv2_2`.
- `vgg19:relu2_2`, `vgg19:relu5_4`: phi_2,2 and phi_5,4 of Ledig et al., CVPR 2017, "after
  activation".

VGG's weights are torchvision's, trained there from scratch; the papers took the authors' weights.
torchvision normalises an image in [0, 1] by ImageNet's mean and deviation.

SqueezeNet v1.1 (Iandola et al., 2016) has the layers `conv1`, `relu1`, and `fire2` to `fire9` after
the concatenation. SqueezeNet is 3 MB large and stands in for VGG if VGG cannot be downloaded. No
paper measures with SqueezeNet, so a result must show the `title`. No paper's weight of a loss term
fits either: the squared features of a photograph average about 2500 at `fire5`.

SqueezeNet's weights are the authors' Caffe model, converted for Keras. They expect BGR in [0, 255]
minus the mean of Keras' `preprocess_input`: (103.939, 116.779, 123.68). As in the Keras model,
neither the first convolution nor the poolings pad, so pixels that do not fill a window are ignored;
Caffe's poolings pad at the end.
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
    """A feature network and the last layer to use.

    Raises:
        InputError: the network is unknown, or has no layer of this name.
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
        """The text that `parse` reads: `vgg16:relu2_2`."""
        return f"{self.network}:{self.layer}"

    @property
    def title(self) -> str:
        """The name for results: the text, marked if the network is a stand-in.

        >>> parse("squeezenet1.1:fire5").title
        'squeezenet1.1:fire5, a stand-in for VGG'
        """
        return f"{self.text}, a stand-in for VGG" if self.stand_in else self.text

    @property
    def stand_in(self) -> bool:
        """Whether the network takes the place of VGG, which the papers use."""
        return NETWORKS[self.network].stand_in

    @property
    def stride(self) -> int:
        """Pixels of the image between neighbouring places of the feature maps."""
        return 1 << len(self._windows())  # each layer with a window halves the side

    @property
    def least(self) -> int:
        """Least side of an image that has a feature, in pixels.

        >>> parse("vgg19:relu5_4").least, parse("squeezenet1.1:fire5").least
        (16, 15)
        """
        side = 1
        for window in reversed(self._windows()):
            side = 2 * (side - 1) + window
        return side

    def _windows(self) -> list[int]:
        """Sides of the windows of all layers of stride 2, up to the last layer to use."""
        kind = NETWORKS[self.network]
        before = _names(kind.outline())
        before = before[: before.index(self.layer) + 1]
        return [kind.windows[name] for name in before if name in kind.windows]


def parse(text: str) -> Features:
    """The features that a text names.

    >>> parse("vgg16:conv2_2")
    Features(network='vgg16', layer='conv2_2')

    Raises:
        InputError: the text is not NETWORK:LAYER, or the network or layer is unknown.
    """
    network, colon, layer = text.strip().partition(":")
    if not colon:
        raise InputError(
            f"features {text!r}; give NETWORK:LAYER, such as vgg19:relu5_4; "
            f"networks: {', '.join(NETWORKS)}"
        )
    return Features(network, layer)


def files(features: Features) -> tuple[RemoteFile, ...]:
    """The files to download before `network` can load the feature network."""
    return (NETWORKS[features.network].file,)


def licence(features: Features) -> str:
    """Licence of the network's weights."""
    return NETWORKS[features.network].licence


def network(features: Features, device: torch.device) -> nn.Module:
    """The network up to the layer, frozen, float32, in evaluation mode.

    The network maps RGB (N, 3, H, W) in [0, 1], or luma (N, 1, H, W) as three equal channels, to
    the layer's feature maps (N, C, h, w). Gradients flow back to the image. The network raises an
    InputError for an image smaller than `features.least`.

    Raises:
        InputError: the file of weights is not here, or does not hold the network.
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
    # assign, because the layers are on the meta device and have no memory to copy into.
    layers.load_state_dict({key: state[key] for key in layers.state_dict()}, assign=True)
    return _Network(features, kind, layers).requires_grad_(False).eval().to(device)


class _Network(nn.Module):
    """The normalisation of the image, followed by the layers."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Features, kind: _Kind, layers: nn.Module) -> None:
        super().__init__()
        self.text, self.least = features.text, features.least
        for name, values in (("mean", kind.mean), ("deviation", kind.deviation)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.layers = layers

    def forward(self, image: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) of images (N, 3 or 1, H, W) in [0, 1].

        Raises:
            InputError: an image is smaller than the layer needs.
        """
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
    """Fire module: squeezes to few channels, then expands by 1x1 and by 3x3, each with a ReLU."""

    def __init__(self, taken: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(taken, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, taken, h, w) to (N, 2 * expanded, h, w)."""
        x = torch.relu_(self.squeeze1x1(x))
        return torch.relu_(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def _vgg(convolutions: tuple[int, ...]) -> nn.Sequential:
    """VGG without the classifier, from the number of convolutions in each block.

    Source: Simonyan and Zisserman, Table 1, configurations D and E.
    """
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
    """SqueezeNet v1.1 without the classifier."""
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
    """Names of the layers, in order."""
    return [name for name, _ in layers.named_children()]


# Reading
_CLASSIFIER_OF_VGG = {
    "classifier.0": (4096, 25088),
    "classifier.3": (4096, 4096),
    "classifier.6": (1000, 4096),
}
"""Shapes of the classifier's weights, which are part of torchvision's files.

They are checked with the rest of the file, although the features do not use them.
"""


def _read_torchvisions(path: Path, whole: nn.Sequential, name: str) -> dict[str, Tensor]:
    """VGG's state dict by this module's names, from a file that numbers the layers.

    Weights have the shape (out, in, 3, 3), biases (out,).

    Raises:
        InputError: the file does not hold the network.
    """
    published = {}
    for index, (layer, module) in enumerate(whole.named_children()):
        for key in module.state_dict():
            published[f"features.{index}.{key}"] = f"{layer}.{key}"
    outline = whole.state_dict()
    wanted = {theirs: outline[ours] for theirs, ours in published.items()}
    for layer, shape in _CLASSIFIER_OF_VGG.items():
        wanted[f"{layer}.weight"] = torch.empty(shape, device="meta")
        wanted[f"{layer}.bias"] = torch.empty(shape[:1], device="meta")
    state = weight_file.fitting(wanted, weight_file.read_tensors(path).state, path, name).state
    return {ours: state[theirs] for theirs, ours in published.items()}


def _read_keras(path: Path, whole: nn.Sequential, name: str) -> dict[str, Tensor]:
    """SqueezeNet's state dict for RGB, from a Keras file for BGR with kernels (h, w, in, out).

    Raises:
        InputError: the file cannot be read, or does not hold the network.
    """
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
            # Keras stores kernels as (h, w, in, out), torch as (out, in, h, w).
            oihw = array.permute(3, 2, 0, 1).contiguous() if kind == "weight" else array
            state[f"{layer.replace('/', '.')}.{kind}"] = oihw
    fit = weight_file.fitting(whole.state_dict(), state, path, name).state
    fit["conv1.weight"] = fit["conv1.weight"].flip(1)  # from BGR to RGB
    return fit


# The networks
@dataclass(frozen=True)
class _Kind:
    """A feature network with all layers."""

    name: str
    file: RemoteFile
    licence: str
    build: Callable[[], nn.Sequential]
    read: Callable[[Path, nn.Sequential, str], dict[str, Tensor]]
    """State dict of a file, from the path, the layers on the meta device and the network's name."""
    windows: Mapping[str, int]
    """Side of the window of each layer of stride 2; these layers do not pad."""
    mean: tuple[float, float, float]
    """Subtracted from RGB in [0, 1]."""
    deviation: tuple[float, float, float]
    """By which the difference is divided."""
    stand_in: bool = False

    def outline(self) -> nn.Sequential:
        """All layers by name, on the meta device."""
        with torch.device("meta"):
            return self.build()


def _vgg_of_torchvision(name: str, digits: str, convolutions: tuple[int, ...]) -> _Kind:
    """A VGG of torchvision, whose file name holds the first digits of the SHA-256."""
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
"""Every network by the name to use in a text for `parse`."""
