"""An external program, run once for each image, or once for a folder of images.

LR is given as an 8-bit PNG file, and SR is read from the file that the program writes. A command
has the placeholders `{lr}` and `{sr}`, the paths of the two files; or `{lr_dir}` and `{sr_dir}`,
folders in which SR files are found by the names of the LR files, as `bench.datasets.matching` says.
`{scale}` is the scale. No shell is used: a pipe or a variable is a word like others.

A number is known by the command and by the hashes of the program and of every file that a word of
the command names, also after a `=`. It is not known by what the program reads by itself: modules
that a script imports, a folder that a word names, libraries, variables of the environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import images
from bench.datasets.matching import paired
from bench.protocol import PROTOCOLS
from bench.runtimes import program
from bench.sources.card import TRIED, Card
from zoo.errors import InputError, listed, plain
from zoo.method import SCALE, Method, Settings, at_scale

FIELD = "command"
SUFFIXES = ()
EXTRA = ""
MODULES = ()
EXAMPLE = '"cmd:tool -i {lr} -o {sr} -s {scale}"'
_LR, _SR, _LR_DIR, _SR_DIR = "{lr}", "{sr}", "{lr_dir}", "{sr_dir}"
_OF_NETWORKS = {"range": 0, "luma": "", "layout": ""}
"""Fields of a card that no file of 8 bits needs, with their defaults."""
_EXACT = 1e-6
"""How far a whole level may be from an integer, by rounding in double."""


def method(card: Card) -> Method:
    """The method of a card with a command.

    Raises:
        InputError: the command names neither `{lr}` and `{sr}` nor `{lr_dir}` and `{sr_dir}`, or a
            field does not belong to a command.
    """
    for name, default in _OF_NETWORKS.items():
        if getattr(card, name) != default:
            raise InputError(f"{card.label}: {name} does not belong to a command, which gets and "
                             "writes 8-bit files; leave it out")  # fmt: skip
    words = shlex.split(card.source)
    named = {place for place in (_LR, _SR, _LR_DIR, _SR_DIR) if place in card.source}
    if named not in ({_LR, _SR}, {_LR_DIR, _SR_DIR}):
        given = f"it has {listed(sorted(named))}" if named else "it has none"
        raise InputError(
            f"{card.label}: the command needs {_LR} and {_SR} for an image, or {_LR_DIR} and "
            f"{_SR_DIR} for a folder, and {given}; give cmd:tool -i {_LR} -o {_SR} -s {SCALE}"
        )
    return replace(
        card.method(white=255),
        build=partial(_build, card, words),
        files=tuple(_files(card, words)),
        source=Path(__file__),
    )


def _files(card: Card, words: Sequence[str]) -> Iterator[str]:
    """Paths of the program and of the files that the words name, with `{scale}` as in the words."""
    found = shutil.which(words[0])
    if found is not None and "/" not in words[0]:
        yield str(Path(found).resolve())
    for word in words:
        for name in filter(None, {word, word.partition("=")[2]}):
            path = card.folder.resolve() / name
            if any(Path(at_scale(str(path), scale)).is_file() for scale in TRIED):
                yield str(path)


def _build(card: Card, words: Sequence[str], scale: int, settings: Settings) -> nn.Module:
    kind = _FolderProgram if any(_LR_DIR in word for word in words) else _Program
    return kind(card, words, scale)


class _Program(nn.Module):
    """A program that enlarges an image: (N, C, h, w) in [0, 255], whole levels, to SR.

    Its copies are the module itself, and a lock lets them compute in turn, so that the program is
    never slower because it runs twice.

    Args:
        card: says the time that the program may take and its working folder.
        words: the command, with placeholders.
        scale: the enlargement, per side.
    """

    image_dtype = torch.float64
    timed_as = "end to end: start of the program, files"

    def __init__(self, card: Card, words: Sequence[str], scale: int) -> None:
        super().__init__()
        self.program = plain(Path(words[0]).name)
        self.remarks: tuple[str, ...] = ()
        self._card, self._words, self._scale = card, words, scale
        self._factor = 1 if card.takes == "interpolated" else scale
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:
            raise InputError("not counted: an external program")
        return torch.stack([self._enlarged(image) for image in x]).to(x)

    def _enlarged(self, x: Tensor) -> Tensor:
        """SR (C, H, W) of an image (C, h, w), both in [0, 255]."""
        pixels = self._pixels(x)
        with self._lock, program.temporary_folder() as folder:
            sr = self._computed({"image": pixels}, folder)["image"]
            return self._read(sr, pixels)

    def _pixels(self, x: Tensor) -> NDArray[np.uint8]:
        """The image (h, w) or (h, w, 3) of planes in [0, 255].

        Raises:
            InputError: a value is no whole level.
        """
        whole = x.round()
        if bool(((x - whole).abs() > _EXACT).any()) or bool(((whole < 0) | (whole > 255)).any()):
            in_rgb = x.shape[0] == 3
            fitting = [
                each.name for each in PROTOCOLS.values()
                if each.round_lr and (in_rgb or (each.degrade == "RGB" and each.ycbcr == "8-bit"))
            ]  # fmt: skip
            other = "" if in_rgb else ', or channels = "RGB" in the card'
            raise InputError(
                f"{self.program} gets an 8-bit file, and its {'LR' if in_rgb else 'luma'} is not "
                f"in whole levels under this protocol; choose {listed(fitting)}{other}"
            )
        return images.to_pixels(whole)

    def _computed(self, given: Mapping[str, NDArray[np.uint8]], folder: Path) -> dict[str, Path]:
        """The SR file of each image, by its name; here for one image."""
        found = {}
        for name, pixels in given.items():
            lr, sr = folder / "lr" / f"{name}.png", folder / "sr" / f"{name}.png"
            for path in (lr, sr):
                path.parent.mkdir(exist_ok=True)
            lr.write_bytes(images.encode_png(pixels))
            ended = self._run({_LR: str(lr), _SR: str(sr)}, f"LR of {_size(pixels)} px")
            if not sr.is_file():
                others = sorted(path.name for path in folder.rglob("*") if path.is_file())
                others.remove(lr.name)
                wrote = f"wrote {plain(listed(others, 3))} instead" if others else "wrote nothing"
                raise InputError(
                    f"{self.program} {wrote} of the file {_SR}, and {ended.in_words}; fix the "
                    f"command, or give {_LR_DIR} and {_SR_DIR} if the program takes folders"
                )
            found[name] = sr
        return found

    def _run(self, places: Mapping[str, str], what: str) -> program.Ended:
        """Run the command.

        Args:
            places: values of the placeholders.
            what: the images, for messages.

        Raises:
            InputError: it cannot be run, takes too long, or ends with a status other than 0.
        """
        places = {**places, SCALE: str(self._scale)}
        any_place = re.compile("|".join(map(re.escape, places)))
        words = [any_place.sub(lambda found: places[found[0]], word) for word in self._words]
        ended = program.run(words, self._card.folder, self._card.timeout)
        if ended.status:
            raise InputError(f"{self.program} {ended.in_words}, with {what}; fix the command")
        if ended.left_others:
            self._remark("processes that the program left running were ended")
        return ended

    def _read(self, path: Path, lr: NDArray[np.uint8]) -> Tensor:
        """SR (C, H, W) in [0, 255] from a file, with as many channels as LR.

        Raises:
            InputError: it is no image, or has another size or other channels.
        """
        try:
            sr = images.decode(path)
        except InputError as error:
            said = str(error).replace(str(path), "the file that it wrote")
            raise InputError(f"{self.program}: {said}") from error
        height, width = (self._factor * side for side in lr.shape[:2])
        if sr.shape[:2] != (height, width):
            raise InputError(
                f"{self.program} wrote an image of {_size(sr)} px for LR of {_size(lr)} px; "
                f"expected {width}x{height}: fix the command or give another scale"
            )
        if sr.ndim != lr.ndim:
            rgb, kind, other = (sr, "RGB", "gray") if sr.ndim == 3 else (lr, "gray", "RGB")
            if bool((rgb != rgb[..., :1]).any()):
                raise InputError(
                    f"{self.program} wrote {kind} for {other} LR; make it write what it gets"
                )
            self._remark(f"SR is {kind} for {other} LR, with equal channels")
            sr = sr[..., 0] if sr.ndim == 3 else np.stack([sr] * 3, -1)
        return images.to_tensor(sr, torch.device("cpu"))

    def _remark(self, clause: str) -> None:
        self.remarks = tuple(dict.fromkeys([*self.remarks, clause]))


class _FolderProgram(_Program):
    """A program that enlarges all images of a folder.

    Within `gather`, a forward pass only keeps the image, and returns zeros. `run_gathered` then
    runs the program once for all images that were kept. Later forward passes read what it wrote.
    """

    timed_as = "end to end: start of the program, files; a folder with one image"

    def __init__(self, card: Card, words: Sequence[str], scale: int) -> None:
        super().__init__(card, words, scale)
        self._gathering = ""
        self._gathered: dict[str, NDArray[np.uint8]] = {}
        self._made: dict[str, Path] = {}

    @contextlib.contextmanager
    def gather(self, name: str) -> Iterator[None]:
        """A context in which images are kept under a name."""
        self._gathering = name
        try:
            yield
        finally:
            self._gathering = ""

    def run_gathered(self) -> None:
        """Run the program once for all images that were kept.

        Raises:
            InputError: it fails, or an image has no SR file.
        """
        given, self._gathered = self._gathered, {}
        with self._lock:
            made = self._computed(given, program.new_folder())
        self._made = {_digest(pixels): made[name] for name, pixels in given.items()}

    def _enlarged(self, x: Tensor) -> Tensor:
        pixels = self._pixels(x)
        if self._gathering:
            name = self._gathering
            # A self-ensemble gives several images of one name.
            number = sum(each.startswith(f"{name}-pass-") for each in self._gathered)
            name += f"-pass-{number}" if name in self._gathered else ""
            self._gathered[name] = pixels
            return x.new_zeros(x.shape[0], *(self._factor * side for side in x.shape[1:]))
        if known := self._made.get(_digest(pixels)):
            return self._read(known, pixels)
        return super()._enlarged(x)

    def _computed(self, given: Mapping[str, NDArray[np.uint8]], folder: Path) -> dict[str, Path]:
        """The SR file of each image, by its name."""
        lr, sr = folder / "lr", folder / "sr"
        for place in (lr, sr):
            place.mkdir()
        for name, pixels in given.items():
            (lr / f"{name}.png").write_bytes(images.encode_png(pixels))
        count = f"{len(given)} image{'s' * (len(given) > 1)}"
        ended = self._run({_LR_DIR: str(lr), _SR_DIR: str(sr)}, f"a folder of {count}")
        try:
            found = paired(sr, list(given), self._scale, "SR", _LR_DIR)
        except InputError as error:
            said = str(error).replace(str(sr), _SR_DIR)
            raise InputError(f"{self.program} {ended.in_words}, but {said}") from error
        for remark in found.remarks:
            self._remark(remark)
        return {file.name: file.path for file in found.files}


def _digest(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
