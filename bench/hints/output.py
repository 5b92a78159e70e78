"""A hint at a likely mistake in a method's output: another range, channel order or place.

The output is measured as given; the hint only says which correction would raise PSNR, and by how
much.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from operator import attrgetter
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench import metrics
from bench.evaluate import evaluate
from bench.protocol import Protocol
from zoo.errors import InputError
from zoo.method import Method

_IMAGES = 3
"""Images on which a correction has to help; more images would only cost time."""
_SUSPICIOUS = 1.0
"""How far PSNR has to be below interpolation's, in dB, before corrections are tried.

This is for modules without parameters. A network is suspicious if it is below interpolation at all:
RLFN x4, which takes [0, 255], is 0.75 dB below if it is given [0, 1].
"""
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

_Correct = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Mistake:
    """Likely mistakes in an output, at most one of each kind, and their correction."""

    kinds: tuple[int, ...]
    """Range, place, order: 0, 1, 2."""
    what: str
    """In words: the output seems to be ..."""
    correct: _Correct

    def and_(self, other: _Mistake) -> _Mistake:
        """Both mistakes at once, of different kinds."""
        one, two = sorted((self, other), key=lambda mistake: mistake.kinds)
        return _Mistake(
            (*one.kinds, *two.kinds),
            f"{one.what} and {two.what}",
            lambda x: two.correct(one.correct(x)),
        )


@dataclass(frozen=True)
class _Case:
    """An image whose output is far below interpolation."""

    name: str
    pixels: NDArray[np.uint8]
    lr: Tensor | None
    """LR from a file."""
    given: float
    """PSNR as measured, in dB."""
    interpolated: float
    """PSNR of interpolation, in dB."""
    output: Tensor
    """The module's output, (1, C, H, W)."""
    in_colour: bool
    """Whether the order of channels matters."""


def hint(
    images: Iterable[tuple[str, NDArray[np.uint8], Tensor | None, float]],
    scale: int,
    protocol: Protocol,
    method: Method,
    module: nn.Module,
    device: torch.device,
) -> str:
    """A likely mistake and what its correction would gain, as a sentence; '' if there is none.

    If PSNR of the first colour image is not below interpolation's, the module does not run again.
    Otherwise, it runs again on up to three images, once or twice.

    Args:
        images: name, HR image (H, W) or (H, W, 3), uint8, LR from a file (None for the protocol's),
            and measured PSNR in dB.
        scale: the enlargement, per side.
        protocol: the rules.
        method: says which LR image the module takes.
        module: the network with its weights.
        device: where the images are computed.
    """
    used = {"psnr": metrics.load("psnr")}

    def psnr(
        pixels: NDArray[np.uint8], lr: Tensor | None, method: Method, module: nn.Module
    ) -> float:
        return evaluate(pixels, scale, protocol, method, module, used, device, lr)[protocol.psnr]

    plain = replace(method, takes="interpolated")
    suspicious = 0.0 if next(module.parameters(), None) is not None else _SUSPICIOUS
    cases: list[_Case] = []
    for name, pixels, lr, given in images:
        interpolated = psnr(pixels, lr, plain, nn.Identity())
        if math.isinf(interpolated):  # a constant image says nothing
            continue
        is_gray = pixels.ndim == 2 or bool((pixels == pixels[..., :1]).all())
        if given > interpolated - suspicious:
            if is_gray:  # in BGR order, a gray image is the same
                continue
            return ""
        recorder = _Recorder(module)
        psnr(pixels, lr, method, recorder)
        output = recorder.output
        in_colour = not is_gray and output.shape[1] == 3
        cases.append(_Case(name, pixels, lr, given, interpolated, output, in_colour))
        if len(cases) == _IMAGES:
            break

    def tried(mistake: _Mistake) -> _Tried:
        reached = {}
        for case in cases:
            if case.in_colour or _ORDER not in mistake.kinds:
                corrected = _Constant(mistake.correct(case.output))
                reached[case.name] = psnr(case.pixels, case.lr, method, corrected)
        return _judged(cases, reached, mistake)

    mistakes = _mistakes(method.range)
    singles = [tried(mistake) for mistake in mistakes] if cases else []
    if not singles:
        return ""
    # A second mistake can hide how much the first costs, so the first need not fit.
    first = max(singles, key=attrgetter("gain")).mistake
    pairs = [tried(first.and_(x)) for x in mistakes if x.kinds != first.kinds]
    best = _best([*singles, *pairs])
    seems = f"the output seems to be {best.mistake.what}" if best else ""
    if best is None:
        # Runs the module again, so only if its output alone explains nothing.
        other = replace(method, range=_other(method.range))
        with contextlib.suppress(InputError):  # a network may refuse the other range
            reached = {case.name: psnr(case.pixels, case.lr, other, module) for case in cases}
            best = _best([_judged(cases, reached, singles[0].mistake)])
        seems = (
            f"the network seems to work in [0, {other.range}] instead of [0, {method.range}] "
            f"(range = {other.range})"
        )
    if best is None:
        return ""
    least = "at least " if len(best.names) > 1 else ""
    return f"{seems}: PSNR would be {least}{best.gain:.2f} dB higher on {', '.join(best.names)}"


def _other(white: int) -> Literal[1, 255]:
    """The other range that a network may have."""
    return 255 if white == 1 else 1


@dataclass(frozen=True)
class _Tried:
    """What correcting a mistake does."""

    mistake: _Mistake
    names: tuple[str, ...]
    """The images on which it was tried."""
    gain: float
    """Least gain of PSNR on any of them, in dB; -inf if there are none."""
    fits: bool
    """Whether PSNR is then as high as that of a method, on all of them."""


def _judged(cases: Iterable[_Case], reached: Mapping[str, float], mistake: _Mistake) -> _Tried:
    """What correcting a mistake does.

    Args:
        cases: the images.
        reached: PSNR in dB with the correction, by name of image.
        mistake: the mistake.
    """
    seen = [case for case in cases if case.name in reached]
    return _Tried(
        mistake,
        tuple(reached),
        min((reached[case.name] - case.given for case in seen), default=-math.inf),
        fits=all(reached[case.name] > case.interpolated - _BELOW_INTERPOLATION for case in seen),
    )


def _best(found: Iterable[_Tried]) -> _Tried | None:
    """The correction with the largest gain; None if none gains enough.

    Args:
        found: corrections of one mistake first, then of two.
    """
    best: _Tried | None = None
    for each in found:
        least = best.gain if best else _GAIN
        if best and len(each.mistake.kinds) > len(best.mistake.kinds):
            least += _WORTH_A_SECOND
        if each.fits and each.gain > least:
            best = each
    return best


def _as_rgb(x: Tensor) -> Tensor:
    return x.flip(1)


def _shifted_back(down: int, right: int) -> _Correct:
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


_RANGE, _PLACE, _ORDER = range(3)
_ELSEWHERE = (
    *(
        _Mistake((_PLACE,), _direction(*by), _shifted_back(*by))
        for by in product((0, 1, -1), repeat=2)
        if any(by)
    ),
    _Mistake((_ORDER,), "in BGR order", _as_rgb),
)


def _mistakes(white: int) -> list[_Mistake]:
    """Likely mistakes in the output of a network whose range ends at `white`."""
    other = _other(white)
    return [
        _Mistake(
            (_RANGE,), f"in [0, {other}] instead of [0, {white}]", lambda x: x * white / other
        ),
        _Mistake((_RANGE,), f"in [-1, 1] instead of [0, {white}]", lambda x: (x + 1) / 2 * white),
        *_ELSEWHERE,
    ]


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
