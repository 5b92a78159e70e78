"""Files of a folder for the images of a dataset, by name: SR files of another program, LR files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from bench.datasets import SUFFIXES, ImageFile
from bench.files.whole import sha256_of
from zoo.errors import InputError, listed, spelled

Role: TypeAlias = Literal["SR", "LR"]
_SEPARATOR = "[_. -]"
_OF_HR = re.compile(f"{_SEPARATOR}(?:hr|gt)$", re.IGNORECASE)
"""What the name of an HR image may end with: `img_001_SRF_4_HR`, `baby_GT`."""


@dataclass(frozen=True)
class Paired:
    """A file for each image of a dataset, at a scale."""

    role: Role
    files: tuple[ImageFile, ...]
    """In the order of the dataset's images, each with the name of its image."""
    remarks: tuple[str, ...] = ()
    """How files were found by name, and what was left over: short clauses, without "; "."""
    label: str = ""
    """What Results call LR files; empty for SR files."""

    def __getitem__(self, image: str) -> ImageFile:
        """The file of the image with this name."""
        return next(file for file in self.files if file.name == image)

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, in hex, by role and name of its image."""
        return {f"{self.role} of {file.name}": file.sha256 for file in self.files}

    def read_again(self) -> Paired:
        """The same files with the hashes that they have now.

        Raises:
            InputError: a file cannot be read.
        """
        return replace(self, files=tuple(_hashed(file.name, file.path) for file in self.files))


@dataclass(frozen=True)
class _Rule:
    """A way in which the name of a file is made of the name of its HR image."""

    label: str
    """The file's name; NAME is the image's."""
    pattern: str
    """What the file's name looks like; the group `hr` is the image's name."""


def _rules(role: Role, scale: int) -> list[_Rule]:
    """The rules, the strictest first; a rule is tried where no earlier one fits."""
    times = f"[xX]{scale}"
    rules = [_Rule("", "(?P<hr>.+)")]
    if role == "LR":
        return [
            *rules,
            _Rule(f"NAMEx{scale}", f"(?P<hr>.+?){_SEPARATOR}?{times}"),
            _Rule("NAME_LR", f"(?P<hr>.+?){_SEPARATOR}LR"),
            _Rule(
                f"NAME_LR_x{scale}", f"(?P<hr>.+?){_SEPARATOR}LR(?:BI)?{_SEPARATOR}?{times}"
            ),
            _Rule(f"NAME_SRF_{scale}_LR", f"(?P<hr>.+?){_SEPARATOR}SRF_{scale}_LR"),
        ]  # fmt: skip
    return [
        *rules,
        _Rule("NAME_SR", f"(?P<hr>.+){_SEPARATOR}SR"),
        _Rule(f"NAMEx{scale}", f"(?P<hr>.+?){_SEPARATOR}?{times}"),
        _Rule(f"NAME_x{scale}_METHOD", f"(?P<hr>.+?){_SEPARATOR}?{times}{_SEPARATOR}.+"),
        _Rule(
            f"NAME_SRF_{scale}_METHOD", f"(?P<hr>.+?){_SEPARATOR}SRF_{scale}_(?!LR$|HR$).+"
        ),
    ]  # fmt: skip


_METHOD_ONLY = _Rule("NAME_METHOD", f"(?P<hr>.+){_SEPARATOR}(?P<method>[^_. -]*[A-Za-z][^_. -]*)")
"""`baby_SwinIR`; taken only if the same word follows every name."""
_OTHER_WORDS = re.compile(r"(?:lr.*|hr|gt|x\d+)", re.IGNORECASE)


def paired(
    folder: Path,
    images: Sequence[str],
    scale: int,
    role: Role,
    dataset: str,
    besides: Iterable[Path] = (),
) -> Paired:
    """A file of the folder for each image, found by name and hashed.

    The name of a file, without its ending, is the image's name, or `NAME_SR`, `NAMEx4`, `NAME_x4`,
    `NAME_x4_METHOD`, `NAME_SRF_4_METHOD`, or `NAME_METHOD` with one METHOD for all; for LR
    `NAMEx4`, `NAME_x4`, `NAME_LR`, `NAME_LR_x4` or `NAME_SRF_4_LR`. An HR image called
    `NAME_HR` or `NAME_GT` is also known as NAME. Capitals matter only where two
    images differ in nothing else.

    Args:
        folder: holds the files.
        images: names of the dataset's images.
        scale: the enlargement that the files are of.
        role: whether the files are SR or LR.
        dataset: the dataset's name, for messages.
        besides: files that may lie in the folder too and are of no image, as the HR files.

    Raises:
        InputError: there is no such folder, an image has no file or more than one, a file fits more
            than one image, or a file cannot be read.
    """
    found, remarks = _matched(folder, images, scale, role, dataset, besides)
    return Paired(role, tuple(_hashed(name, path) for name, path in found.items()), remarks)


def _hashed(name: str, path: Path) -> ImageFile:
    try:
        return ImageFile(name, path, sha256_of(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; restore the file") from error


def _matched(
    folder: Path,
    images: Sequence[str],
    scale: int,
    role: Role,
    dataset: str,
    besides: Iterable[Path],
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The file of each image by the image's name, and what is to be said of them."""
    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r} with {role} files of x{scale}; give one")
    others = {path.resolve() for path in besides}
    entries = sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.resolve() not in others
    )
    files = [path for path in entries if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    owners, labels = _owners(files, _Known(images), _rules(role, scale))
    if role == "SR":
        rest = [path for path in files if path not in owners]
        by_word, words = _owners(rest, _Known(images), [_METHOD_ONLY])
        same = {_method_of(path) for path in by_word}
        if len(same) == 1 and not any(map(_OTHER_WORDS.fullmatch, same)):
            owners |= by_word
            labels |= words
    for path, names in owners.items():
        if len(names) > 1:
            raise InputError(
                f"{path} fits several images of {dataset}: {listed(names)}; rename the file"
            )
    of_image: dict[str, list[Path]] = {image: [] for image in images}
    for path, (name,) in owners.items():
        of_image[name].append(path)
    if files and not owners:
        raise InputError(
            f"{folder}: no file has the name of an image of {dataset} at x{scale}: "
            f"{listed([path.name for path in files], 3)} beside {listed(list(images), 3)}; name "
            f"them {' or '.join(_forms(role, scale))}"
        )
    for name, paths in of_image.items():
        if len(paths) > 1:
            raise InputError(
                f"{folder} has {len(paths)} {role} files for {name} of {dataset}: "
                f"{listed([path.name for path in paths])}; keep one"
            )
    missing = [name for name, paths in of_image.items() if not paths]
    left = [f"{path.name}/" if path.is_dir() else path.name for path in entries
            if path not in owners]  # fmt: skip
    if missing:
        has = f", and has {listed(left, 3)}" if left else ""
        raise InputError(
            f"{folder} has no {role} file of x{scale} for {listed(missing)} of {dataset}{has}; "
            f"add {'it' if len(missing) == 1 else 'them'} as {' or '.join(_forms(role, scale))}"
        )
    usual = {f"NAMEx{scale}"} if role == "LR" else set()  # DIV2K's form needs no word
    used = dict.fromkeys(labels[path] for path in owners if labels[path] not in {"", *usual})
    remarks = [f"{role} files found as {label}" for label in used]
    if left:
        remarks.append(f"{role} files left over: {spelled(listed(left))}".replace("; ", ", "))
    return {name: paths[0] for name, paths in of_image.items()}, tuple(remarks)


def _forms(role: Role, scale: int) -> Iterable[str]:
    yield from ("NAME.png", f"NAMEx{scale}.png")
    if role == "SR":
        yield "NAME_SR.png"


class _Known:
    """The images of a dataset by the names that they are known as."""

    def __init__(self, images: Sequence[str]) -> None:
        self._exact: dict[str, list[str]] = {}
        self._lower: dict[str, list[str]] = {}
        for image in images:
            names = {image}
            if ending := _OF_HR.search(image):
                names.add(image[: ending.start()])
            for name in names:
                self._exact.setdefault(name, []).append(image)
                self._lower.setdefault(name.lower(), []).append(image)

    def images(self, name: str) -> tuple[list[str], str]:
        """Images that a name may mean, and ` with other capitals` if only so."""
        if name in self._exact:
            return self._exact[name], ""
        return self._lower.get(name.lower(), []), " with other capitals"


def _owners(
    files: Iterable[Path], known: _Known, rules: Sequence[_Rule]
) -> tuple[dict[Path, list[str]], dict[Path, str]]:
    """The images that each file may belong to, and the rule that says so ('' for equal names).

    Files that no rule gives an image are left out.
    """
    owners: dict[Path, list[str]] = {}
    labels: dict[Path, str] = {}
    for path in files:
        for rule in rules:
            names = [path.name, path.stem] if not rule.label else [path.stem]
            for name in names:
                form = re.fullmatch(rule.pattern, spelled(name), re.IGNORECASE)
                images, case = known.images(form["hr"]) if form else ([], "")
                if images and path not in owners:
                    owners[path] = images
                    labels[path] = f"{rule.label or 'NAME' * bool(case)}{case}"
    return owners, labels


def _method_of(path: Path) -> str:
    form = re.fullmatch(_METHOD_ONLY.pattern, spelled(path.stem))
    return form["method"] if form else ""
