"""Weight files that unpack to a thousand times their size."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch

from bench.files import matlab, packed, weight_file
from zoo.errors import InputError

ZEROS = bytes(1 << 20)
PIECES = 512  # of ZEROS: 512 MiB


def deflated(count: int, before: bytes = b"") -> bytes:
    stream = zlib.compressobj(9)
    parts = [stream.compress(before), *(stream.compress(ZEROS) for _ in range(count))]
    return b"".join(parts) + stream.flush()


def bomb_pth(path: Path) -> None:
    """A state dict of PyTorch, packed again, with a member of zeros."""
    torch.save({"a": torch.ones(3)}, path.with_suffix(".whole"))
    with (
        zipfile.ZipFile(path.with_suffix(".whole")) as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name in whole.namelist():
            if not name.endswith("/data/0"):
                file.writestr(name, whole.read(name))
                continue
            with file.open(name, "w", force_zip64=True) as member:
                for _ in range(PIECES):
                    member.write(ZEROS)


def bomb_npz(path: Path) -> None:
    """An array of zeros."""
    count = PIECES * len(ZEROS)
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count},)}}".ljust(117) + "\n"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("w.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for _ in range(PIECES):
            member.write(ZEROS)


def bomb_mat(path: Path) -> None:
    """A variable of version 5: a row of zeros of type uint8."""
    count = PIECES * len(ZEROS)
    parts = struct.pack("<IIII", 6, 8, 9, 0)  # flags: class uint8
    parts += struct.pack("<IIii", 5, 8, 1, count)  # dimensions
    parts += struct.pack("<II8s", 1, 1, b"w")  # name
    parts += struct.pack("<II", 2, count)  # the zeros follow
    data = deflated(PIECES, struct.pack("<II", 14, len(parts) + count) + parts)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(header + struct.pack("<II", 15, len(data)) + data)


def bomb_hdf5(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        shape = (PIECES * len(ZEROS) // 8,)
        made = file.create_dataset("w", shape, "f8", chunks=(1 << 22,), compression=9)
        for first in range(0, shape[0], 1 << 22):
            made[first : first + (1 << 22)] = np.zeros(1 << 22)
        made.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def bomb_chunk(path: Path) -> None:
    """A single number in a chunk of 512 MiB."""
    with h5py.File(path, "w", userblock_size=512) as file:
        chunk = PIECES * len(ZEROS) // 8
        made = file.create_dataset(
            "w", (1,), "f8", chunks=(chunk,), maxshape=(None,), compression=9
        )
        made.id.write_direct_chunk((0,), deflated(PIECES))
        made.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


BOMBS = {
    "bomb.pth": bomb_pth,
    "bomb.npz": bomb_npz,
    "bomb.mat": bomb_mat,
    "hdf5.mat": bomb_hdf5,
    "chunk.mat": bomb_chunk,
}
READ = """
import resource, sys
from pathlib import Path
from bench.files import matlab, weight_file
from zoo.errors import InputError
path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    matlab.load(path) if path.suffix == ".mat" else weight_file.read_tensors(path)
except InputError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    BOMBS[name](path)
    assert path.stat().st_size < 12 << 20
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, kibibytes = done.stdout.rsplit(maxsplit=1)
    assert "bytes and unpacks to" in message
    assert len(message.splitlines()) == 1
    assert int(kibibytes) < 100 << 10


def test_safetensors_that_state_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    fact = {"dtype": "F64", "shape": [1 << 30], "data_offsets": [0, 1 << 33]}
    header = json.dumps({"w": fact}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match=r"a\.safetensors cannot be read as weights"):
        weight_file.read_tensors(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + header)
    with pytest.raises(InputError, match=r"a\.safetensors cannot be read as weights"):
        weight_file.read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", ["mat", "7.3", "pth", "npz"])
def test_weights_that_are_compressed_honestly_are_read(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(0).random((50, 60))
    if kind == "pth":
        torch.save({"w": torch.from_numpy(values)}, tmp_path / "whole")
        with (
            zipfile.ZipFile(tmp_path / "whole") as whole,
            zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as file,
        ):
            for name in whole.namelist():
                file.writestr(name, whole.read(name))
        found = weight_file.read_tensors(tmp_path / "a.pth").state["w"].numpy()
    elif kind == "npz":
        np.savez_compressed(tmp_path / "a.npz", w=values)
        found = weight_file.read_tensors(tmp_path / "a.npz").state["w"].numpy()
    else:
        if kind == "mat":
            scipy.io.savemat(tmp_path / "a.mat", {"w": values}, do_compression=True)
        else:
            with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
                made = file.create_dataset("w", data=values.T, compression=9)
                made.attrs["MATLAB_class"] = np.bytes_("double")
            with (tmp_path / "a.mat").open("r+b") as block:
                block.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        found = matlab.load(tmp_path / "a.mat")["w"]
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(("unpacked", "fine"), [(1000, True), (1001, False)])
def test_bound_is_a_ratio_beyond_what_is_always_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpacked: int, fine: bool
) -> None:
    monkeypatch.setattr(packed, "ALWAYS", 999)
    (tmp_path / "a").write_bytes(bytes(100))
    if fine:
        packed.refuse_bomb(tmp_path / "a", unpacked)
    else:
        with pytest.raises(InputError, match="has 100 bytes and unpacks to 1,001 or more"):
            packed.refuse_bomb(tmp_path / "a", unpacked)
