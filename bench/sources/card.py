"""Cards: where a method is that is not this project's code, and what it takes."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from zoo.errors import InputError, listed, plain, unknown
from zoo.method import SCALE, Channels, Method, at_scale, located

KINDS = (
    "class",
    "checkpoint",
    "onnx",
    "openvino",
    "exported",
    "script",
    "images",
    "command",
)
"""The fields of a card that say where the method is; a card has one of them."""
TRIED = range(2, 17)
"""Scales that a file's name with `{scale}` is tried with."""
_CODE = re.compile(r"github:[\w.-]+/[\w.-]+@[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "takes": ("", "LR", "interpolated"),
    "channels": ("", *get_args(Channels)),
    "range": (0, 1, 255),
    "luma": ("", "studio", "full"),
    "layout": ("", "NCHW", "NHWC"),
}


_NO_NUMBER = (
    *("name", "source", "weights", "code", "files", "folder"),
    *("scales", "timeout", "licence", "citation"),
)
"""Fields that change no number, or that are known by hashes."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Card:
    """A method that is not this project's code: one source, and what the source does not say.

    A field that is empty or 0 is read from the source, or has its default.

    Raises:
        InputError: a field that has another type or a value that it cannot have.
    """

    name: str
    """The method's name in tables and plots."""
    kind: str
    """The field that names the source, one of `KINDS`."""
    source: str
    """Value of that field: a path, in which `{scale}` stands for the scale, or a command."""
    weights: str = ""
    """Path of the weights of a class, in which `{scale}` stands for the scale."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of a class; the text `{scale}` becomes the scale as an integer."""
    takes: Literal["LR", "interpolated", ""] = ""
    """Input: LR, the default, or LR that the protocol has interpolated to the HR size."""
    channels: Channels | Literal[""] = ""
    """Planes: `luma`, `RGB` or `any`."""
    range: Literal[0, 1, 255] = 0
    """White in input and output: 1, the default, or 255."""
    luma: Literal["studio", "full", ""] = ""
    """Range of luma: `studio`, the default, as MATLAB has it, or `full`, as OpenCV has it."""
    layout: Literal["NCHW", "NHWC", ""] = ""
    """Order of a file's axes, where the file does not tell."""
    multiple: int = 1
    """LR is padded at the right and at the bottom to a multiple of so many pixels, by reflection;
    SR is cropped."""
    scales: tuple[int, ...] = ()
    """Scales of the method; by default those that the source has."""
    timeout: float = 600.0
    """Seconds that a command may take for an image or a folder."""
    code: str = ""
    """`github:OWNER/REPO@COMMIT`: where the file of a class is, if it is not on this machine."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Files of `code` that the class needs: SHA-256 by path."""
    licence: str = ""
    citation: str = ""
    folder: Path = Path()
    """Folder that relative paths start from: the card's."""

    def __post_init__(self) -> None:
        _refuse_types(self)
        if self.kind not in KINDS:
            raise unknown("source", self.kind, KINDS)
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                words = ", ".join(str(each) for each in allowed if each)
                raise InputError(f"{self.label}: {name} is {value!r}; choose from: {words}")
        for name in ("name", "source"):
            if not getattr(self, name).strip():
                raise InputError(f"{self.label}: {name or self.kind} is empty; give a text")
        if plain(self.name) != self.name or set(self.name) & set("@;\"'"):
            raise InputError(
                f"{self.label}: the name is no plain text, without control characters, quotes, @ "
                'or semicolon; give another, as name = "Ours", or :name=Ours after a file'
            )
        if self.multiple < 1:
            raise InputError(f"{self.label}: multiple is {self.multiple}; give 1 or more pixels")
        if any(scale < 2 for scale in self.scales):
            raise InputError(f"{self.label}: scales are {list(self.scales)}; give 2 or more")
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"{self.label}: timeout is {self.timeout}; give seconds above 0")
        for name in ("weights", "arguments", "code", "files"):
            if getattr(self, name) and self.kind != "class":
                raise InputError(f"{self.label}: {name} belongs to a class; leave it out")
        if self.code and not _CODE.fullmatch(self.code):
            raise InputError(
                f"{self.label}: code is {self.code!r}; give github:OWNER/REPO@COMMIT with all 40 "
                "digits of the commit"
            )
        if not _is_plain(self.arguments):
            raise InputError(
                f"{self.label}: arguments are {dict(self.arguments)!r}; give texts, numbers, truth "
                "values, and lists or tables of these"
            )
        if bool(self.code) != bool(self.files):
            raise InputError(
                f"{self.label}: code and files belong together; files names each file of the "
                'repository that the class needs, as "models/net.py" = "SHA-256"'
            )
        if self.code:
            self._refuse_unchecked_code()

    def _refuse_unchecked_code(self) -> None:
        """Refuse a class of a repository whose file would not be checked by its whole hash.

        Raises:
            InputError: the file is not listed, or a hash is cut short.
        """
        file = self.source.rpartition(":")[0]
        if file not in self.files:
            raise InputError(
                f"{self.label}: the file of the class, {file!r}, is not among files, which are "
                f"{listed(list(self.files))}; list it with its SHA-256"
            )
        for path, sha256 in self.files.items():
            if not _SHA256.fullmatch(sha256):
                raise InputError(
                    f"{self.label}: {path!r} has {sha256!r}; give all 64 hex digits of its "
                    "SHA-256, in small letters, because the file is run"
                )

    @property
    def label(self) -> str:
        """The card for messages."""
        return f"card {plain(self.name)}"

    def path(self, scale: int) -> Path:
        """The file or folder of the source at a scale."""
        return self.folder / at_scale(self.source, scale)

    def _file(self, name: str) -> Path:
        return located(str(self.folder / name))[0]

    @property
    def file(self) -> Path:
        """The file or folder of the source, without what chooses a part of it, `#KEY`."""
        return self._file(self.source)

    def file_at(self, scale: int) -> Path:
        """`file` at a scale."""
        return self._file(at_scale(self.source, scale))

    def scales_found(self) -> tuple[int, ...]:
        """Scales for which the file or folder exists, if the source's name has `{scale}`; else ().

        Raises:
            InputError: the name has `{scale}`, and there is no file at any scale.
        """
        return self._scales_of(self.source)

    def scales_of_weights(self) -> tuple[int, ...]:
        """Scales for which the weights exist, if their name has `{scale}`; else ().

        Raises:
            InputError: the name has `{scale}`, and there is no file at any scale.
        """
        return self._scales_of(self.weights)

    def _scales_of(self, name: str) -> tuple[int, ...]:
        if SCALE not in name:
            return ()
        found = tuple(x for x in TRIED if self._file(at_scale(name, x)).exists())
        if not found:
            raise InputError(
                f"{self.label}: no {self.folder / name} for any scale from {min(TRIED)} to "
                f"{max(TRIED)}; give a path that exists"
            )
        return found

    def method(
        self,
        channels: Channels = "RGB",
        white: Literal[1, 255] = 1,
        scales: tuple[int, ...] = (),
    ) -> Method:
        """The card as a Method without a module; the source adds what makes the output.

        Args:
            channels: planes, if the card does not say.
            white: white in input and output, if the card does not say.
            scales: scales, if the card does not say.
        """
        from bench.sources.padding import Padded  # imports torch, which reading cards must not

        return Method(
            name=self.name,
            citation=self.citation or f"{self.kind}: {plain(self.source)}",
            takes=self.takes or "LR",
            channels=self.channels or channels,
            range=self.range or white,
            luma=self.luma or "studio",
            scales=self.scales or scales,
            build=_refuse_to_build,
            card=self.identity,
            wrap=partial(Padded, multiple=self.multiple) if self.multiple > 1 else None,
        )

    @property
    def identity(self) -> str:
        """What can change a number, as JSON; files are known by their hashes instead."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        for name in _NO_NUMBER:
            del known[name]
        if self.kind == "command":
            known["command"] = self.source
        return json.dumps(known, sort_keys=True, default=repr)

    def __repr__(self) -> str:
        """The call of `sisrbench.card` that makes the card."""
        kind = f"{self.kind}_" if self.kind == "class" else self.kind
        shown: dict[str, object] = {"name": self.name, kind: str(self.folder / self.source)}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in ("name", "kind", "source", "folder") and value != _default(each):
                shown[each.name] = value
        return f"card({', '.join(f'{key}={value!r}' for key, value in shown.items())})"


def _is_plain(value: object) -> bool:
    """Whether a value consists of what JSON has, so that a number can be known by it."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(x) for key, x in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _refuse_to_build(scale: int, settings: Mapping[str, Any]) -> Any:
    raise InputError("a file of its own holds this method's network; measure it with its file")


_TYPES: Mapping[str, type] = {
    "arguments": Mapping,
    "files": Mapping,
    "range": int,
    "multiple": int,
    "scales": tuple,
    "timeout": float,
    "folder": Path,
}
"""Types of the fields that are no texts."""
_WORDS = {Mapping: "a table", int: "an integer", tuple: "a list of integers", float: "a number"}


def _default(of: Field[Any]) -> object:
    return of.default if of.default_factory is MISSING else of.default_factory()


def _refuse_types(card: Card) -> None:
    """Refuse a field of another type, because a card may come from a file or from Python.

    Raises:
        InputError: the field, with what it may be.
    """
    for each in fields(card):
        value, wanted = getattr(card, each.name), _TYPES.get(each.name, str)
        right = isinstance(value, wanted) or (wanted is float and type(value) is int)
        right = right and not isinstance(value, bool)
        if each.name == "scales" and right:
            right = all(type(scale) is int for scale in value)
        if each.name == "files" and right:
            right = all(isinstance(x, str) for pair in value.items() for x in pair)
        if not right:
            what = _WORDS.get(wanted, "a text")
            raise InputError(f"card {card.name!r}: {each.name} is {value!r}; give {what}")


_GIVEN = tuple(each.name for each in fields(Card) if each.name not in ("kind", "source", "folder"))
FIELDS = (*KINDS, *_GIVEN)
"""The fields that a card may have in a file."""


def of_fields(given: Mapping[str, Any], folder: Path, what: str, name: str = "") -> Card:
    """The card with these fields.

    Args:
        given: values by the names in `FIELDS`; lists as TOML has them.
        folder: what relative paths start from.
        what: the card for messages.
        name: the name if the fields have none; '' if they must.

    Raises:
        InputError: an unknown field, not exactly one source, no name, or a value that a field
            cannot have.
    """
    for key in given:
        if key not in FIELDS:
            raise InputError(f"{what}: {unknown('field', key, FIELDS)}")
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        found = f"it has {listed(kinds)}" if kinds else "it has none"
        raise InputError(f"{what}: a card names one source, and {found}; give one of: "
                         f"{', '.join(KINDS)}")  # fmt: skip
    values = {key: value for key, value in given.items() if key in _GIVEN}
    if "name" not in values:
        if not name:
            raise InputError(f'{what}: the field name is missing; give name = "Ours", for example')
        values["name"] = name
    if isinstance(values.get("scales"), list):
        values["scales"] = tuple(values["scales"])
    try:
        return Card(kind=kinds[0], source=given[kinds[0]], folder=folder, **values)
    except InputError as error:
        raise InputError(f"{what}: {error}" if what else str(error)) from None


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> Card:
    """The card in a TOML file.

    Args:
        path: the file; relative paths in it start from its folder.
        overrides: fields that replace those of the file.

    Raises:
        InputError: the file cannot be read, is no TOML, or holds no valid card.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"no card {path}: {error.strerror}; give a .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}; fix the file") from error
    return of_fields(given | dict(overrides or {}), path.parent, str(path))


TAGS = ("none", "built-in")
"""Weights of a class that are no file: a fresh initialisation, and those that the class loads."""


def absolute(weights: str) -> str:
    """Weights as they are known from any folder: an absolute path, or one of `TAGS`."""
    return weights if weights in TAGS else str(Path(weights).absolute())


def value_of(text: str) -> Any:
    """A value of a short form: an integer, a number, a truth value, or a text.

    >>> value_of("64"), value_of("1e-3"), value_of("true"), value_of("{scale}")
    (64, 0.001, True, '{scale}')
    """
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


_SCRIPTS = (".py", ".sh", ".m", ".jl", ".lua", ".js")


def program_of(command: str) -> str:
    """Name of the program that a command runs, or of the script that it gives to an interpreter.

    Raises:
        InputError: the quotes do not match, or there is no program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"command {command!r}: {error}; close the quotes") from error
    if not words:
        raise InputError("the command is empty; give cmd:tool -i {lr} -o {sr} -s {scale}")
    scripts = (word for word in words[1:] if Path(word).suffix in _SCRIPTS)
    return Path(next(scripts, words[0])).name
