"""Reads mutated images, weights, tables, manifests, experiments and stores.

Each file must be read or refused in one line, within 30 s and 4 GiB.

    python tests/attack/mutations.py --seed 1 --count 1200
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import common
import h5py
import numpy as np
import scipy.io
import torch
from common import Attack, forked, main, run
from PIL import Image
from safetensors.torch import load_file

import zoo
from bench import datasets, experiments, images, published, session
from bench.cli import main as cli
from bench.files import tensor_file, weights
from zoo.errors import InputError

TEXT = (".csv", ".toml")
TOKENS = (
    b"nan", b"inf", b"-1", b"1e999", b"9" * 400, b"0", b"", b'"', b"'", b",", b",,,,", b"\n",
    b"\x00", b"\xff\xfe", b"=HYPERLINK(1)", "\u202e".encode(), b"\x1b[2J", b"[[", b"]", b"{", b"#",
    b"../../x", b"true", b"psnr_y", b"x" * 70000, b"\r", b"1979-05-27", b"0x10", b"1_0",
    b"\xed\xa0\x80",
)  # fmt: skip


def attack(found: Attack, count: int) -> None:
    """Mutate a file of each kind in turn, and read it in a fork."""
    seeds = _seeds(found)
    if not seeds:
        return
    kinds = sorted(seeds)
    refused, peak, slowest = Counter(), 0, 0.0
    for trial in range(count):
        kind = kinds[trial % len(kinds)]
        path, read = seeds[kind]
        place = found.folder / "mutated"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        target = place / path.name
        target.write_bytes(_mutated(path.read_bytes(), found.random, text=path.suffix in TEXT))
        ended = forked(lambda target=target, read=read: read(target))
        found.tried += 1
        refused[kind] += ended.status != 0
        peak, slowest = max(peak, ended.peak), max(slowest, ended.seconds)
        fault = ended.fault()
        if fault or ended.status not in (0, 1, 2):
            kept = Path("/tmp") / f"attack-{found.seed}-{trial}-{path.name}"
            shutil.copy(target, kept)
            found.fault(f"{kind}, trial {trial}: {fault or ended.status}; kept as {kept}")
    print(f"refused: {dict(refused)} of {count // len(kinds)} each")
    print(f"slowest {slowest:.1f} s, peak {peak >> 20} MiB")


def _told(call: Callable[[], object]) -> int:
    """0 if the call reads the file, 2 if it refuses it in one line, 3 if in several."""
    try:
        call()
    except InputError as error:
        print(error)
        return 3 if "\n" in str(error) else 2
    return 0


def _mutated(data: bytes, chance: random.Random, *, text: bool) -> bytes:
    """One to four changes of bytes, or of tokens of a text."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        # Headers decide more than pixels do.
        end = len(made) if chance.random() < 0.5 else min(len(made), 600)
        at = chance.randrange(end or 1)
        length = chance.choice((1, 4, 8, 64, 1000))
        kind = chance.randrange(8)
        if text and kind < 6:
            separators = [i for i, byte in enumerate(made) if byte in b",\n =\"'"] or [0]
            at = chance.choice(separators) + 1
            stop = next((i for i in separators if i >= at), at)
            made[at:stop] = chance.choice(TOKENS)
        elif kind == 0:
            made[at : at + length] = chance.randbytes(length)
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            del made[at : at + length]
        elif kind == 3:
            made[at:at] = made[at : at + length]
        elif kind == 4:
            made[at : at + 4] = chance.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4))
        elif kind == 5:
            made[at : at + 8] = chance.choice((b"\xff" * 8, b"\0\0\0\0\1\0\0\0", b"\1" + b"\0" * 7))
        elif made:
            made[at % len(made)] ^= 1 << chance.randrange(8)
    return bytes(made)


def _seeds(found: Attack) -> dict[str, tuple[Path, Callable[[Path], int]]]:
    """Kind to a whole file and the reader of its mutations."""
    folder = found.folder / "seeds"
    folder.mkdir()
    seeds: dict[str, tuple[Path, Callable[[Path], int]]] = {}
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for ending in ("png", "jpg", "bmp", "tif", "webp"):
        path = folder / f"image.{ending}"
        Image.fromarray(pixels).save(path)
        seeds[ending] = path, lambda path: _told(lambda: images.decode(path))
    state = load_file(common.REPOSITORY / "zoo" / "weights" / "espcn-x2.safetensors")
    for name in ("w.safetensors", "zip.pth", "legacy.pth", "v5.mat", "v73.mat"):
        path = folder / name
        if name.endswith("tensors"):
            path.write_bytes(tensor_file.file_of(state, {"at": "x"}))
        elif name.endswith("pth"):
            torch.save(state, path, _use_new_zipfile_serialization="zip" in name)
        elif name == "v5.mat":
            scipy.io.savemat(path, _srcnn())
        else:
            with h5py.File(path, "w", userblock_size=512) as file:
                for key, value in _srcnn().items():
                    file[key] = value.T
                    file[key].attrs["MATLAB_class"] = np.bytes_("double")
            data = bytearray(path.read_bytes())
            data[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
            path.write_bytes(data)
        method = zoo.load("srcnn-9-1-5" if name.endswith("mat") else "espcn")[0]
        seeds[name] = (
            path,
            lambda path, method=method: _told(
                lambda: weights.build(
                    method, weights.resolve(method, str(path), 2), 2, torch.device("cpu")
                )
            ),
        )
    seeds["checkpoint"] = (
        folder / "w.safetensors",
        lambda path: _told(lambda: tensor_file.facts_and_tensors(path)),
    )
    for module, name, read in (
        (datasets, "demo.csv", lambda path: datasets.manifest(path.stem)),
        (published, "srcnn2014_set5.csv", lambda path: published.load(path.stem)),
        (experiments, "edsr2017_pretraining.toml", lambda path: experiments.load(path.stem)),
    ):
        path = module.FOLDER / name
        seeds[name] = path, lambda path, module=module, read=read: _in_folder(module, path, read)
    ended = run(["run", "-m", "nearest", "-m", "bicubic", "-d", "demo", "-s", "2", "--out", "out"],
                found.folder)  # fmt: skip
    if ended.status:
        found.fault(f"no store to mutate: {ended.text[-300:]}")
        return {}
    out = found.folder / "out"
    seeds["baseline"] = (
        out / "results.csv",
        lambda path: cli.status(["check", str(path), "--out", str(out)]),
    )
    seeds["store"] = (
        out / "results.sqlite",
        lambda path: cli.status(["report", "srcnn2014_set5", "--out", str(path.parent)]),
    )
    session.quantities()
    for kind, (path, read) in seeds.items():
        copy = found.folder / "whole" / path.name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
        ended = forked(lambda copy=copy, read=read: read(copy))
        found.check(ended.status == 0, f"{kind} unchanged: {ended.status} {ended.text[-300:]}")
    return seeds


def _srcnn() -> dict[str, np.ndarray]:
    """Arrays as SRCNN's authors publish them."""
    return {
        "weights_conv1": np.zeros((81, 64)), "biases_conv1": np.zeros((64, 1)),
        "weights_conv2": np.zeros((64, 1, 32)), "biases_conv2": np.zeros((32, 1)),
        "weights_conv3": np.zeros((32, 25)), "biases_conv3": np.zeros((1, 1)),
    }  # fmt: skip


def _in_folder(module, path: Path, read: Callable[[Path], object]) -> int:
    module.FOLDER = path.parent
    return _told(lambda: read(path))


if __name__ == "__main__":
    main("mutations", attack, 1200)
