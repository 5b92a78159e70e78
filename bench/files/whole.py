"""Whole files: their SHA-256, and writing several of them so that all or none appear."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from zoo.errors import InputError


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(contents: Mapping[Path, str | bytes]) -> None:
    """Write files whole, all or none: what was there stays until every new one is complete.

    Raises:
        InputError: a folder cannot be written, or the disk is full.
    """
    complete: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            complete[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            complete[path].chmod(0o644)
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
