"""A hint at a likely mistake in a method's output: another range, channel order or place.

The output is measured as given; the hint only says which correction would raise PSNR, and by how
much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench import metrics
from bench.evaluate import evaluate
from bench.protocol import Protocol
from zoo.method import Method

_IMAGES = 3
"""Images on which a correction has to help; more images would only cost time."""
_SUSPICIOUS = 1.0
"""How far PSNR has to be below interpolation's, in dB, before corrections are tried."""
_GAIN = 1.0
"""How much a correction has to raise PSNR on every image, in dB.

On Set5 and five photographs, BGR order costs 2 dB and more, and a shift by a pixel 2 dB and more at
x2. At x4 a shift costs less than this on some images, and then gives no hint.
"""
_BELOW_INTERPOLATION = 3.0
"""How far the corrected PSNR may be below interpolation's, in dB. The output of a fresh network
gains by many corrections, but remains far below."""
_WORTH_A_SECOND = 1.0
"""How much more two corrections have to gain than one, in dB."""

_Correction = Callable[[Tensor], Tensor]


def hint(
    images: Iterable[tuple[str, NDArray[np.uint8], float]],
    scale: int,
    protocol: Protocol,
    method: Method,
    module: nn.Module,
    device: torch.device,
) -> str:
    """A likely mistake and what its correction would gain, as a sentence; '' if there is none.

    If PSNR of the first colour image is not below interpolation's, the module does not run again.
    Otherwise, it runs again on up to three images.

    Args:
        images: name, HR image (H, W) or (H, W, 3), uint8, and measured PSNR in dB.
        scale: the enlargement, per side.
        protocol: the rules.
        method: says which LR image the module takes.
        module: the network with its weights.
        device: where the images are computed.
    """
    used = {"psnr": metrics.load("psnr")}

    def psnr(pixels: NDArray[np.uint8], method: Method, module: nn.Module) -> float:
        return evaluate(pixels, scale, protocol, method, module, used, device)[protocol.psnr]

    plain = replace(method, takes="interpolated")
    gains: dict[str, dict[str, float]] = {}
    seen = 0
    for name, pixels, given in images:
        interpolated = psnr(pixels, plain, nn.Identity())
        if math.isinf(interpolated):  # a constant image says nothing
            continue
        is_gray = pixels.ndim == 2 or bool((pixels == pixels[..., :1]).all())
        if given > interpolated - _SUSPICIOUS:
            if is_gray:  # in BGR order, a gray image is the same
                continue
            return ""
        recorder = _Recorder(module)
        psnr(pixels, method, recorder)
        for what, correct in _corrections(recorder.output, in_colour=not is_gray):
            corrected = psnr(pixels, method, _Constant(correct(recorder.output)))
            fits = corrected > interpolated - _BELOW_INTERPOLATION
            gains.setdefault(what, {})[name] = corrected - given if fits else -math.inf
        seen += 1
        if seen == _IMAGES:
            break
    what, gain = _best({what: min(each.values()) for what, each in gains.items()})
    if not what:
        return ""
    least = "at least " if len(gains[what]) > 1 else ""
    return (
        f"the output seems to be {what}: PSNR would be {least}{gain:.2f} dB higher on "
        f"{', '.join(gains[what])}"
    )


def _best(gains: Mapping[str, float]) -> tuple[str, float]:
    """The correction with the largest gain, and the gain; ('', 0) if none gains enough.

    Args:
        gains: a gain in dB by correction, single corrections first.
    """
    best, most = "", 0.0
    for what, gain in gains.items():
        if gain > _GAIN and gain > most + (
            _WORTH_A_SECOND if what.endswith(" and in BGR order") else 0
        ):
            best, most = what, gain
    return best, most


def _corrections(output: Tensor, *, in_colour: bool) -> Iterator[tuple[str, _Correction]]:
    """The mistake and the correction of each hypothesis, single mistakes first.

    Args:
        output: the module's output (1, C, H, W).
        in_colour: whether the image has colours, so that the order of channels matters.
    """
    ranges: list[tuple[str, _Correction]] = [
        ("in [0, 255] instead of [0, 1]", lambda x: x / 255),
        ("in [-1, 1] instead of [0, 1]", lambda x: (x + 1) / 2),
    ]
    yield from ranges
    yield from _SHIFTS
    if in_colour and output.shape[1] == 3:
        yield "in BGR order", _as_rgb
        for what, correct in ranges:
            yield f"{what} and in BGR order", _then_as_rgb(correct)


def _as_rgb(x: Tensor) -> Tensor:
    return x.flip(1)


def _then_as_rgb(correct: _Correction) -> _Correction:
    return lambda x: _as_rgb(correct(x))


def _shifted_back(down: int, right: int) -> _Correction:
    """A correction of images that lie too far down and right, in pixels; edges are replicated."""

    def correct(x: Tensor) -> Tensor:
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        height, width = x.shape[-2:]
        top, left = 1 + down, 1 + right
        return padded[..., top : top + height, left : left + width]

    return correct


def _direction(down: int, right: int) -> str:
    """A shift in words: "shifted by 1 px down and 1 px left"."""
    vertical, horizontal = ("", "down", "up")[down], ("", "right", "left")[right]
    return "shifted by " + " and ".join(f"1 px {way}" for way in (vertical, horizontal) if way)


_SHIFTS = [(_direction(*by), _shifted_back(*by)) for by in product((0, 1, -1), repeat=2) if any(by)]


class _Recorder(nn.Module):
    """A module that keeps its last output."""

    output: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        self.output = self.module(x)
        return self.output


class _Constant(nn.Module):
    """A module that returns the same output for every image."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, _: Tensor) -> Tensor:
        return self.output
