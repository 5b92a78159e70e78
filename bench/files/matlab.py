"""Variables of MATLAB files of any version, in the form that SciPy gives for older versions."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import scipy.io
import scipy.sparse
from numpy.typing import NDArray

from bench.files import packed
from zoo.errors import InputError

Array: TypeAlias = NDArray[Any]


def load(path: Path, *, verified: bool = False) -> dict[str, Any]:
    """The variables of a MATLAB file of version 4 to 7.3, in the form of `scipy.io.loadmat`.

    Args:
        path: the file.
        verified: whether the file's hash is known. A file of another origin is read in a process of
            its own, because SciPy's reader crashes on some damaged files.

    Raises:
        InputError: the file holds objects or function handles, refers to other files, or holds far
            more bytes than its size.
        Exception: the file is damaged; the readers may raise almost any exception.
    """
    packed.check_matlab(path)
    with path.open("rb") as opened:
        head = opened.read(128)
    # The version and the order of bytes: 7.3, which is HDF5 and which SciPy does not read.
    if head[124:] in (b"\x00\x02IM", b"\x02\x00MI"):
        with h5py.File(path, "r", locking=False) as file:
            found = _Hdf5(path).variables(file)
    else:
        found = scipy.io.loadmat(path) if verified else _by_scipy(path)
    # SciPy adds __header__, __version__ and __globals__.
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _by_scipy(path: Path) -> dict[str, Any]:
    """What `scipy.io.loadmat` gives, in a process of its own: it crashes on some damaged files.

    Raises:
        InputError: the file is damaged.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", _READ, path], capture_output=True, check=False
    )
    if done.returncode < 0:
        raise InputError(f"{path} is damaged: it crashes SciPy's reader; get it again")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{path} cannot be read as weights: {said[-1][:120]}; get it again")
    found: dict[str, Any] = pickle.loads(done.stdout)  # noqa: S301  (of our own code)
    return found


_READ = """
import pickle, sys, scipy.io
sys.stdout.buffer.write(pickle.dumps(scipy.io.loadmat(sys.argv[1])))
"""


class _Hdf5:
    """A MATLAB 7.3 file, in the form that `scipy.io.loadmat` gives for an older version.

    Arrays have MATLAB's axes, at least two. Cells are object arrays. Structs are structured arrays
    of objects; a single struct has shape (1, 1). Text is an array of rows. Only the dtype of
    numbers may differ: an older file stores whole numbers in fewer bytes than MATLAB's class has.

    Only the file itself is read. Links to other files are refused. Data are refused as well if the
    stated size is larger than the stored bytes can hold, or far larger than the file.
    """

    _MOST_PACKED = 1100  # bytes for each stored byte; deflate reaches at most 1032

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[int, Any] = {}
        self.open: set[int] = set()
        self.unpacked = 0

    def variables(self, file: h5py.File) -> dict[str, Any]:
        """Every variable of the file, by name.

        Raises:
            InputError: the file holds objects, function handles, links or loops.
        """
        # Names with # are MATLAB's own, as #refs#, where the contents of cells lie.
        return {name: self._member(file, name) for name in file if not name.startswith("#")}

    def _member(self, group: h5py.Group, name: str) -> Any:
        """The value of a member of a group.

        Raises:
            InputError: the member is a link to another place or file.
        """
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InputError(f"{self.path}: {name} is a link to elsewhere; give a file of its own")
        return self._value(group[name])

    def _value(self, item: h5py.Group | h5py.Dataset) -> Any:
        """The value of an item; an item with several references is read once.

        Raises:
            InputError: the item contains itself, or a value that is no plain array.
        """
        place = h5py.h5o.get_info(item.id).addr
        if place in self.open:
            raise InputError(f"{self.path}: {item.name} holds itself; give a plain file")
        if place not in self.known:
            self.open.add(place)
            self.known[place] = self._read(item)
            self.open.remove(place)
        return self.known[place]

    def _read(self, item: h5py.Group | h5py.Dataset) -> Any:
        """The value of an item, read from the file: a struct, cells, text, a matrix or an array.

        Raises:
            InputError: the item is an object, a function handle, or not of numbers.
        """
        kind = bytes(item.attrs.get("MATLAB_class", b"")).decode("ascii")
        if "MATLAB_object_decode" in item.attrs or kind in ("function_handle", "FileWrapper__"):
            raise InputError(f"{self.path}: {item.name} is an object ({kind}); give plain arrays")
        if "MATLAB_sparse" in item.attrs:
            return self._sparse(item)
        if isinstance(item, h5py.Group):
            return self._struct(item)
        data = self._data(item)
        if item.attrs.get("MATLAB_empty", 0):
            return self._empty(item, kind, tuple(int(side) for side in data.reshape(-1)))
        if h5py.check_ref_dtype(item.dtype) is not None:
            return self._cells(item, data)
        if item.dtype.names == ("real", "imag"):
            data = data["real"] + 1j * data["imag"]
        elif item.dtype.names is not None or item.dtype.kind not in "buif":
            raise InputError(f"{self.path}: {item.name} holds no numbers; give plain arrays")
        data = np.atleast_2d(data.T)  # MATLAB stores by columns, so HDF5 has the axes reversed
        return self._text(data) if kind == "char" else data

    def _data(self, item: h5py.Dataset) -> Array:
        """The stored array of an item, of any shape, axes in HDF5's order.

        Raises:
            InputError: the data lie in another file, are smaller than stated, or are far larger
                than the file.
        """
        if item.external is not None or item.is_virtual:
            raise InputError(f"{self.path}: {item.name} lies elsewhere; give a file of its own")
        if item.nbytes > self._MOST_PACKED * item.id.get_storage_size():
            raise InputError(
                f"{self.path}: {item.name} says to hold {item.nbytes} bytes and does not; "
                "get it again"
            )
        # A chunk is unpacked as a whole, even if the array has a single entry.
        chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
        self.unpacked += max(item.nbytes, chunk)
        packed.refuse_bomb(self.path, self.unpacked)
        return np.asarray(item[()])

    def _empty(self, item: h5py.Dataset, kind: str, shape: tuple[int, ...]) -> Array:
        """An array without entries, of the class and shape that MATLAB stores instead of data.

        Raises:
            InputError: the shape is not empty.
        """
        if 0 not in shape:
            raise InputError(f"{self.path}: {item.name} is empty, of shape {shape}; get it again")
        if kind == "struct":
            return np.empty(shape, [(name, object) for name in self._fields(item)])
        if kind == "char":
            return np.empty(0, "U1")
        return np.empty(shape, object if kind == "cell" else np.float64)

    def _cells(self, item: h5py.Dataset, references: Array) -> Array:
        """The object array of a cell array, with MATLAB's shape; each reference is followed."""
        cells = np.empty_like(np.atleast_2d(references.T), dtype=object)
        for place, reference in np.ndenumerate(np.atleast_2d(references.T)):
            cells[place] = self._value(item.file[reference])
        return cells

    def _fields(self, item: h5py.Group | h5py.Dataset) -> list[str]:
        """Names of a struct's fields, in MATLAB's order."""
        named = item.attrs.get("MATLAB_fields")
        if named is None:
            return list(item) if isinstance(item, h5py.Group) else []
        return [b"".join(letters.tolist()).decode() for letters in named]

    def _struct(self, group: h5py.Group) -> Array:
        """The structured array of a struct, of shape (1, 1), or of an array of structs."""
        names = self._fields(group)
        columns = {name: self._member(group, name) for name in names}
        # In an array of structs, each field is an array of references, and has no MATLAB class.
        several = bool(names) and all(
            isinstance(group[name], h5py.Dataset) and "MATLAB_class" not in group[name].attrs
            for name in names
        )
        shape = columns[names[0]].shape if several else (1, 1)
        out = np.empty(shape, [(name, object) for name in names])
        for name, column in columns.items():
            for place in np.ndindex(shape):
                out[name][place] = column[place] if several else column
        return out

    def _sparse(self, group: h5py.Group) -> Any:
        """A sparse matrix in compressed columns, a `scipy.sparse.csc_matrix` of shape (m, n)."""
        starts = self._data(group["jc"])
        shape = (int(group.attrs["MATLAB_sparse"]), len(starts) - 1)
        if starts[-1] == 0:  # without entries, MATLAB stores `jc` only
            return scipy.sparse.csc_matrix(shape)
        entries, rows = self._data(group["data"]), self._data(group["ir"])
        return scipy.sparse.csc_matrix((entries, rows, starts), shape)

    def _text(self, codes: Array) -> Array:
        """Array (m,) of strings, from character codes of shape (m, n): a string for each row."""
        return np.array(["".join(map(chr, row)) for row in codes.reshape(len(codes), -1)])
