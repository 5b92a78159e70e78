"""How many bytes a weight file holds once it is unpacked, found before it is unpacked."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from zoo.errors import InputError

ALWAYS = 1 << 28
"""Unpacked bytes that any file may have."""
RATIO = 10
"""Times the file's own size that it may have unpacked. Weights hardly compress: less than twice."""
_COMPRESSED = 15  # miCOMPRESSED, the type of a variable in a MATLAB file of version 5
_PIECE = 1 << 16


def refuse_bomb(path: Path, unpacked: int) -> None:
    """Refuse a file that holds far more bytes than its size.

    Args:
        path: the file.
        unpacked: its bytes once unpacked, or some of them.

    Raises:
        InputError: the bytes are more than `ALWAYS` and more than `RATIO` times the file's size.
    """
    size = path.stat().st_size
    if unpacked > max(ALWAYS, RATIO * size):
        raise InputError(
            f"{path} has {size:,} bytes and unpacks to {unpacked:,} or more, as no weights do; "
            "save the weights without compression"
        )


def check_zip(path: Path) -> None:
    """Check a zip file, as PyTorch writes it, by its directory.

    Files of other kinds are left to their reader.

    Raises:
        InputError: the members are far larger than the file.
    """
    try:
        with zipfile.ZipFile(path) as file:
            unpacked = sum(member.file_size for member in file.infolist())
    except zipfile.BadZipFile:
        return
    refuse_bomb(path, unpacked)


def check_matlab(path: Path) -> None:
    """Check a MATLAB file of version 5 by unpacking its variables, piece by piece, without keeping.

    Files of other versions are left to their reader.

    Raises:
        InputError: the variables are far larger than the file.
    """
    with path.open("rb") as file:
        header = file.read(128)
        if header[126:] not in (b"IM", b"MI"):
            return
        numbers = struct.Struct("<II" if header[126:] == b"IM" else ">II")
        unpacked = 0
        while len(tag := file.read(numbers.size)) == numbers.size:
            kind, length = numbers.unpack(tag)
            after = file.tell() + length
            if kind == _COMPRESSED:
                unpacked = _unpack(file, length, path, unpacked)
            file.seek(after)


def _unpack(file: BinaryIO, length: int, path: Path, before: int) -> int:
    """`before`, plus the number of bytes in the next `length` bytes of a file once unpacked.

    Raises:
        InputError: the number is too large for the file's size.
    """
    stream, unpacked = zlib.decompressobj(), before
    try:
        while length > 0 and not stream.eof and (piece := file.read(min(_PIECE, length))):
            length -= len(piece)
            while piece and not stream.eof:
                unpacked += len(stream.decompress(piece, _PIECE))
                refuse_bomb(path, unpacked)
                piece = stream.unconsumed_tail
    except zlib.error:  # damaged, which the reader says
        pass
    return unpacked
