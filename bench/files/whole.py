"""SHA-256 of files, and writing several files so that all or none appear."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from zoo.errors import InputError, spelled


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex, 64 digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(contents: Mapping[Path, str | bytes]) -> None:
    """Write all files or none; old files stay until every new file is complete.

    Args:
        contents: path to text or bytes.

    Raises:
        InputError: a folder cannot be written, or the disk is full.
    """
    complete: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # In the same folder, because a file can be renamed only within a file system.
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            complete[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                # A path in a text may hold bytes that are no UTF-8.
                file.write(spelled(content).encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # on the disk before the rename, against a power failure
            complete[path].chmod(0o644)  # mkstemp lets only the owner read
        for path, temporary in complete.items():
            temporary.replace(path)
    except OSError as error:
        names = ", ".join(map(str, contents))
        raise InputError(
            f"cannot write {names}: {error.strerror or error}; free the disk or give another --out"
        ) from error
    finally:
        for temporary in complete.values():
            temporary.unlink(missing_ok=True)
