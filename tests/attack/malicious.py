"""Gives the readers files that try to run code or to write elsewhere; nothing may be executed.

    python tests/attack/malicious.py --seed 1 --count 99
"""  # fmt: skip

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import REPOSITORY, Attack, Ended, main, run
from PIL import Image
from safetensors.torch import load_file

CANARY = "executed"
_REST = ["-d", "photos", "-s", "2", "--out", "out"]


class Payload:
    """Unpickles to a command that leaves the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def attack(found: Attack, count: int) -> None:
    """Make each file in a folder of its own, give it to the command, look for the canary."""
    for name, make in list(CASES.items())[:count]:
        place = found.folder / name.replace(" ", "-").replace("/", "-")
        place.mkdir()
        canary = place / CANARY
        outside = {path for path in found.folder.iterdir() if path.is_file()}
        arguments = make(place, canary)
        ended: Ended = run(arguments, place, seconds=60)
        found.tried += 1
        fault = ended.fault()
        found.check(not canary.exists(), f"{name}: EXECUTED")
        found.check({p for p in found.folder.iterdir() if p.is_file()} == outside, f"{name}: wrote")
        found.check(not fault, f"{name}: {fault}")
        last = (ended.text.splitlines() or [""])[-1]
        found.check("\x1b" not in ended.text, f"{name}: passes on ESC")
        print(f"{name}: {ended.status}, {ended.peak >> 20} MiB, {last[:150]!a}", flush=True)


def _weights(name: str, data: bytes) -> Callable[[Path, Path], list[str]]:
    return lambda place, canary: _use(place, name, data)


def _use(place: Path, name: str, data: bytes) -> list[str]:
    (place / name).write_bytes(data)
    _photo(place)
    return ["run", "-m", f"espcn@{name}", *_REST]


def _photo(place: Path, name: str = "a.png") -> Path:
    (place / "photos").mkdir(exist_ok=True)
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(place / "photos" / name)
    return place / "photos" / name


def _state() -> dict[str, torch.Tensor]:
    return load_file(REPOSITORY / "zoo" / "weights" / "espcn-x2.safetensors")


def _detect(place: Path, state: dict[str, object]) -> list[str]:
    """Let spandrel find the network of a state dict."""
    return [*_use(place, "w.pth", _saved(state, new=True))[:2], "w.pth", *_REST]


def _compact() -> dict[str, object]:
    """A state dict of the architecture Compact, x2, without layers between."""
    return {
        "body.0.weight": torch.ones(4, 3, 3, 3),
        "body.0.bias": torch.ones(4),
        "body.1.weight": torch.ones(4),
        "body.2.weight": torch.ones(12, 4, 3, 3),
        "body.2.bias": torch.ones(12),
    }


def _zip(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return made.getvalue()


def _safetensors(header: object, length: int | None = None, body: bytes = b"\0" * 64) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def _saved(value: object, *, new: bool) -> bytes:
    made = io.BytesIO()
    torch.save(value, made, _use_new_zipfile_serialization=new)
    return made.getvalue()


def _objects(value: object) -> bytes:
    made = io.BytesIO()
    np.savez(made, w=np.array([value], dtype=object))
    return made.getvalue()


def _pickled(name: str, wrap: Callable[[Payload], object]) -> Callable[[Path, Path], list[str]]:
    return lambda place, canary: _use(place, name, pickle.dumps(wrap(Payload(canary))))


def _torch(new: bool, wrap: Callable[[Payload], object]) -> Callable[[Path, Path], list[str]]:
    return lambda place, canary: _use(place, "w.pth", _saved(wrap(Payload(canary)), new=new))


def _picture(data: bytes, name: str = "a.png") -> Callable[[Path, Path], list[str]]:
    def make(place: Path, canary: Path) -> list[str]:
        _photo(place, "b.png")
        (place / "photos" / name).write_bytes(data.replace(b"CANARY", str(canary).encode()))
        return ["run", "-m", "nearest", "-d", "photos", "-s", "2", "--out", "out"]

    return make


def _named(name: str) -> Callable[[Path, Path], list[str]]:
    def make(place: Path, canary: Path) -> list[str]:
        _photo(place, name.replace("CANARY", CANARY))
        return ["run", "-m", "nearest", "-d", "photos", "-s", "2", "--out", "out"]

    return make


def _module(name: str) -> Callable[[Path, Path], list[str]]:
    """A file in the working folder that has a library's name, beside a method."""

    def make(place: Path, canary: Path) -> list[str]:
        (place / name).write_text(f"open({str(canary)!r}, 'w')\n")
        (place / "mine.py").write_text(
            "from torch import nn\nfrom zoo.method import Method\nNAMES = ('mine',)\n"
            "def method(name):\n    return Method(name=name, citation='', takes='interpolated',"
            " channels='any', build=lambda scale, settings: nn.Identity())\n"
        )
        _photo(place)
        return ["run", "-m", "./mine.py", "-d", "photos", "-s", "2", "--out", "out"]

    return make


def _trigger(place: Path, canary: Path) -> list[str]:
    _photo(place)
    given = ["run", "-m", "nearest", "-d", "photos", "-s", "2", "--out", "out"]
    run(given, place)
    with sqlite3.connect(place / "out" / "results.sqlite") as db:
        db.execute(
            "CREATE TRIGGER t AFTER INSERT ON units BEGIN UPDATE results SET value = 99; END"
        )
    return [*given, "-m", "bicubic"]


def _link(place: Path, canary: Path) -> list[str]:
    """A page that is a link to a file elsewhere, which must not be written through."""
    _photo(place)
    (place / "out").mkdir()
    (place / "out" / "index.html").symlink_to(canary)
    return ["run", "-m", "nearest", "-d", "photos", "-s", "2", "--out", "out"]


def _checkpoint(place: Path, canary: Path) -> list[str]:
    out = place / "out"
    out.mkdir()
    name = "espcn-x2-sisrbench,updates=1.checkpoint.safetensors"
    (out / name).write_bytes(pickle.dumps(Payload(canary)))
    return ["train", "espcn", "-s", "2", "--data", "demo", "--updates", "1", "--validate", "none",
            "--out", "out"]  # fmt: skip


def _formula(place: Path, canary: Path) -> list[str]:
    _photo(place, "=cmd|' C calc'!A0.png")
    return ["run", "-m", "nearest", "-d", "photos", "-s", "2", "--out", "out"]


def _numpy(place: Path, canary: Path) -> list[str]:
    _photo(place)
    np.save(
        place / "photos" / "b.npy", np.array([Payload(canary)], dtype=object), allow_pickle=True
    )
    return ["run", "-m", "nearest", "-d", "photos", "-s", "2", "--out", "out"]


def _baseline(place: Path, canary: Path) -> list[str]:
    _photo(place)
    run(["run", "-m", "nearest", "-d", "photos", "-s", "2", "--out", "out"], place)
    text = (place / "out" / "results.csv").read_text()
    (place / "base.csv").write_text(text.replace("photos", f"$(touch {canary})\x1b[2J"))
    return ["check", "base.csv", "--out", "out"]


def _entry(dtype: str, shape: list[int], offsets: list[int]) -> dict[str, object]:
    return {"conv1.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def _mat(place: Path, canary: Path) -> list[str]:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    # A matrix that says it is 2 GiB, and an opaque object that holds a pickle.
    body = struct.pack("<II", 14, 0x7FFFFFF0) + pickle.dumps(Payload(canary))
    (place / "w.mat").write_bytes(head + body)
    _photo(place)
    return ["run", "-m", "srcnn-9-1-5@w.mat", "-d", "photos", "-s", "2", "--out", "out"]


PS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(CANARY) (w) file closefile\nshowpage\n"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script><image href='CANARY'/></svg>"
CASES: dict[str, Callable[[Path, Path], list[str]]] = {
    "plain pickle": _pickled("w.pth", lambda payload: payload),
    "pickle in a dict": _pickled("w.pt", lambda payload: {"state_dict": {"a": payload}}),
    "pickle named safetensors": _pickled("w.safetensors", lambda payload: payload),
    "pickle named mat": _pickled("w.mat", lambda payload: payload),
    "pickle named npz": _pickled("w.npz", lambda payload: payload),
    "pickle named ckpt": _pickled("w.ckpt", lambda payload: {"hyper_parameters": payload}),
    "npz of objects": lambda place, canary: _use(place, "w.npz", _objects(Payload(canary))),
    "torch zip": _torch(True, lambda payload: {"a": payload}),
    "torch legacy": _torch(False, lambda payload: {"a": payload}),
    "torch zip beside real weights": _torch(True, lambda payload: {**_state(), "z": payload}),
    "torch key": _torch(True, lambda payload: {("a", payload): 1}),
    "checkpoint": lambda place, canary: _detect(place, {"a": Payload(canary)}),
    "checkpoint of 10^12 layers": lambda place, canary: _detect(
        place, {**_compact(), "body.999999999999.weight": torch.ones(1)}
    ),
    "checkpoint of 10^7 layers": lambda place, canary: _detect(
        place, {**_compact(), "body.9999999.weight": torch.ones(1)}
    ),
    "checkpoint of 2^40 features": lambda place, canary: _detect(
        place, {**_compact(), "body.0.weight": torch.ones(1).expand(1 << 40, 3, 3, 3)}
    ),
    "checkpoint of 2^14 features": lambda place, canary: _detect(
        place, {**_compact(), "body.0.weight": torch.ones(1).expand(1 << 14, 3, 3, 3)}
    ),
    "zip slip": lambda place, canary: _use(
        place, "w.pth",
        _zip({f"../{CANARY}": b"x", "../../escaped": b"x", "archive/data.pkl": b"\x80\x02}.",
              "archive/version": b"3\n"}),
    ),
    "zip bomb": lambda place, canary: _use(
        place, "w.pth",
        _zip({"a/data.pkl": b"\0" * (1 << 29), "a/version": b"3\n"}, zipfile.ZIP_DEFLATED),
    ),
    "TorchScript": lambda place, canary: _use(
        place, "w.pt",
        _zip({"a/data.pkl": pickle.dumps(Payload(canary)), "a/constants.pkl": b"\x80\x02).",
              "a/code/__torch__.py": b"import os", "a/version": b"3\n"}),
    ),
    "safetensors of 2^63 bytes": _weights("w.safetensors", _safetensors({}, 1 << 63)),
    "safetensors that overlap": _weights(
        "w.safetensors",
        _safetensors({**_entry("F32", [4], [0, 16]), "b": {"dtype": "F32", "shape": [4],
                      "data_offsets": [8, 24]}}),
    ),
    "safetensors of negative size": _weights(
        "w.safetensors", _safetensors(_entry("F32", [-4], [0, 16]))
    ),
    "safetensors of 2^62 elements": _weights(
        "w.safetensors", _safetensors(_entry("F32", [1 << 31, 1 << 31], [0, 64]))
    ),
    "safetensors nested deeply": _weights(
        "w.safetensors", _safetensors(b'{"a":' * 20000 + b"1" + b"}" * 20000)
    ),
    "mat of 2 GiB": _mat,
    "npy of objects among images": _numpy,
    "PostScript named png": _picture(PS),
    "PostScript": _picture(PS, "a.eps"),
    "SVG named png": _picture(SVG),
    "shell in an image's name": _named("$(touch CANARY);`touch CANARY`.png"),
    "ESC in an image's name": _named("a\x1b]0;x\x07\x1b[2J.png"),
    "markup in an image's name": _named("<img src=x onerror=alert(1)>[bold].png"),
    "formula in an image's name": _formula,
    "shell and ESC in a baseline": _baseline,
    "pickle as a checkpoint": _checkpoint,
    "trigger in the store": _trigger,
    "link as a page": _link,
    "random.py in the working folder": _module("random.py"),
    "torch.py in the working folder": _module("torch.py"),
    "sitecustomize.py in the working folder": _module("sitecustomize.py"),
}  # fmt: skip
"""Name of the file to a function that makes it and returns the command's arguments."""


if __name__ == "__main__":
    shutil.rmtree(REPOSITORY / "tests" / "attack" / "__pycache__", ignore_errors=True)
    main("malicious files", attack, len(CASES))
