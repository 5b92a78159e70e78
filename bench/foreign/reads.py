"""The files that methods of others read, so that a number is known by them too.

Python reports every file that is opened. A file counts if code that is neither this project's nor a
library's opened it. A library that opens files by itself, as OpenCV and HDF5 do, is not seen; what
it gives is seen where it ends in a parameter or a buffer of the module.
"""

from __future__ import annotations

import inspect
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import zoo
from bench.files.whole import sha256_of
from zoo.errors import InputError

_OURS = tuple(
    str(Path(zoo.__file__).parents[1] / package) + os.sep
    for package in ("zoo", "bench", "reports", "sisrbench")
)
_LIBRARIES = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")
_CODE = (".py", ".pyc", ".so", ".pyd")
"""Endings of code, which is known by following imports, and by `imported`."""
_opened: dict[Path, None] = {}
_before: frozenset[str] = frozenset()
"""Modules that were imported when watching began."""
_watching = False


def watch(packages: Iterable[str] = ()) -> None:
    """Note from now on what the code of others opens for reading.

    Args:
        packages: names of installed packages that are no libraries here, but methods of others.
    """
    global _before, _watching
    _methods.extend(f"{os.sep}{name}{os.sep}" for name in packages)
    if not _watching:
        sys.addaudithook(_note)
        _before, _watching = frozenset(sys.modules), True


def hashes(named: Iterable[Path] = ()) -> dict[str, str]:
    """SHA-256, in hex, of all files that were opened so far, and of the named ones, by path.

    Raises:
        InputError: a file cannot be read.
    """
    found = {}
    for path in sorted({*_opened, *named}):
        try:
            found[str(path)] = sha256_of(path)
        except OSError as error:
            raise InputError(
                f"cannot read {path}: {error.strerror}; a method reads this file"
            ) from error
    return found


def imported() -> list[str]:
    """The modules and packages that were imported since watching began, but ours and libraries.

    Following imports does not find a module whose name is a text, as `importlib` takes it.
    """
    found: dict[str, None] = {}
    for name, module in list(sys.modules.items()) if _watching else ():
        file = getattr(module, "__file__", None)
        if name in _before or name.startswith(zoo.ALONE) or not isinstance(file, str):
            continue
        path = os.path.abspath(file)  # noqa: PTH100  (Path.resolve opens links)
        if path.endswith(".py") and not path.startswith((*_LIBRARIES, *_OURS)):
            found[name.partition(".")[0]] = None
    return sorted(found)


_methods: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    """Note an opened file, if the code of others opened it."""
    if event != "open":
        return
    path, _, flags = arguments
    if not isinstance(path, str | bytes) or not isinstance(flags, int):
        return
    name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  (Path.resolve opens links)
    reading = flags & (os.O_WRONLY | os.O_RDWR) == 0 or flags & os.O_RDWR
    if not reading or name.endswith(_CODE) or name.startswith((*_SYSTEM, *_OURS)):
        return
    if name.startswith(_LIBRARIES) or not _is_others(inspect.currentframe()):
        return
    if os.path.isfile(name):  # noqa: PTH113
        _opened[Path(name)] = None


def _is_others(frame: FrameType | None) -> bool:
    """Whether code that is neither this project's nor a library's is among the callers."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith("<"):  # as <frozen importlib>
            name = os.path.abspath(name)  # noqa: PTH100  (a file may be named from this folder)
            library = name.startswith(_LIBRARIES) and not any(part in name for part in _methods)
            if not library and not name.startswith(_OURS):
                return True
        frame = frame.f_back
    return False
