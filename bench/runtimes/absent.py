"""A stand-in for a module that cannot be imported, and that a package imports but rarely uses."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from zoo.errors import InputError, one_line


@contextlib.contextmanager
def standing_in(module: str, probed: str) -> Iterator[None]:
    """A context in which a module can be imported, also if it is missing or broken.

    If it can be imported by itself, nothing changes. Otherwise any name can be imported from it and
    from its submodules. What is imported so is a class: it can be inherited from, and decorate.
    Calling it after the context raises an InputError. The modules themselves are gone then.

    Args:
        module: the module's name, without dots.
        probed: the module, or the submodule of it, whose import decides.
    """
    before = set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(probed)
    except Exception as error:  # a broken build may raise anything
        reason = one_line(error, 80)
    else:
        yield
        return
    _forget(module, before)
    finder = _Finder(module, reason)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        finder.is_over = True
        _forget(module, before)


def _forget(module: str, kept: set[str]) -> None:
    """Remove a module and its submodules from Python's table of modules, but for those to keep."""
    for name in set(sys.modules) - kept:
        if name.partition(".")[0] == module:
            del sys.modules[name]


class _Finder(MetaPathFinder, Loader):
    """Finds a module and all its submodules, whatever their names."""

    def __init__(self, module: str, reason: str) -> None:
        self.module = module
        self.reason = reason
        self.is_over = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """The spec of the module or of one of its submodules; None for any other module."""
        if fullname.partition(".")[0] != self.module:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in of a module."""
        return _Module(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: a stand-in has no code."""


class _Module(ModuleType):
    """A module that has every name."""

    def __init__(self, name: str, finder: _Finder) -> None:
        super().__init__(name)
        self._finder = finder

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(f"{self.__name__}.{name}", self._finder)


class _Absent(type):
    """Type of what stands in for a class, a function or a constant."""

    path: str
    finder: _Finder

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(f"{cls.path}.{name}", cls.finder)

    def __call__(cls, *arguments: object, **_: object) -> object:
        """What a decorator gives while modules are imported: the class or function itself.

        Raises:
            InputError: the class or function is used.
        """
        if cls.finder.is_over:
            raise InputError(
                f"{cls.path} is needed here, and {cls.finder.module} cannot be imported "
                f"({cls.finder.reason}); install the {cls.finder.module} that fits this PyTorch"
            )
        return arguments[0] if arguments and callable(arguments[0]) else cls


def _named(path: str, finder: _Finder) -> type:
    return _Absent(path.rpartition(".")[2], (), {"path": path, "finder": finder})
