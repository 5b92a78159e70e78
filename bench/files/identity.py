"""The code that a number depends on, found by following imports.

A file counts by its bytes. So an edit anywhere in the code behind a number or a training gives
another identity, without a list that somebody has to keep.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import zoo
from zoo.errors import InputError
from zoo.method import Method

ROOT = Path(zoo.__file__).parents[1]
"""The folder of this project's packages."""
PACKAGES = ("zoo", "bench")
EXEMPT: Mapping[str, str] = {
    "bench/datasets/__init__.py": "a dataset is known by the hashes of its images",
    "bench/files/fetch.py": "downloads are known by their hashes",
    "bench/files/identity.py": "makes the identity",
    "bench/files/registry.py": "finds metrics and costs, whose files count",
    "bench/files/whole.py": "hashes and writes",
    "bench/metrics/__init__.py": "finds metrics, whose files count",
    "bench/plan.py": "makes the identity",
    "bench/progress.py": "tells people what happens",
    "bench/result.py": "holds numbers and makes none",
    "zoo/__init__.py": "finds methods, whose files count",
    "zoo/errors.py": "errors",
    "zoo/recipe.py": "says how weights are trained; weights are known by their hashes",
}
"""Files that no number depends on, or that are known by other means, each with the reason."""
NO_COST: Mapping[str, str] = {
    "bench/costs/__init__.py": "a metric's unit measures no cost",
}
"""Files that no metric depends on, beyond `EXEMPT`."""
NO_METRIC: Mapping[str, str] = {
    "bench/hints/output.py": "hints at mistakes in an output, in the note of an average",
    "bench/hints/repeat.py": "says in the note of an average that two runs differ",
}
"""Files that no cost depends on, beyond `EXEMPT`."""
IN_EVERY_KEY: Mapping[str, str] = {
    "cv2": "opencv",
    "numpy": "numpy",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "torch": "torch",
}
"""Modules whose version every key holds, to the library's name in `bench.machine.libraries`."""


def code_of(
    *entries: Path, modules: Iterable[str] = (), exempt: Collection[str] = EXEMPT
) -> dict[str, str]:
    """The SHA-256 of every file that these files need, in hex, by name.

    A file of this project is named by its path below the project's folder. A file of the user's
    own counts with the modules that it imports from outside the standard library: a module that is
    a single file by the file's name, a package as a whole by the package's name.

    Args:
        entries: files of this project, or of the user.
        modules: names of modules from outside this project that are needed too.
        exempt: paths below the project's folder that are left out and not followed.

    Raises:
        InputError: a file cannot be read or parsed.
    """
    found: dict[str, str] = {}
    seen: set[Path] = set()
    waiting = [*(file for module in modules for file in _foreign(module, found)), *entries]
    while waiting:
        path = waiting.pop()
        own = is_own(path)
        name = path.relative_to(ROOT).as_posix() if own else str(path)
        if path in seen or name in exempt:
            continue
        seen.add(path)
        text = _read(path)
        # The user's files are named without their folder, so that moving them changes nothing.
        name = name if own or path.name in found else path.name
        found[name] = hashlib.sha256(text).hexdigest()
        package = _package(path)
        for module in imports(text, path, package):
            if module.split(".")[0] in PACKAGES:
                waiting += _own_files(ROOT, module)
            elif not own:
                waiting += _foreign(module, found)
        if not own and package:
            found |= _whole(path.parents[package.count(".")], package.split(".")[0])
    return dict(sorted(found.items()))


def files_of(method: Method) -> tuple[Path, ...]:
    """The file that defines a method, and the files that define its functions.

    A function may come from another file: the wrapper of a self-ensemble does.
    """
    files = [method.source]
    for function in (method.build, method.convert, method.wrap):
        inner: Any = function
        while isinstance(inner, partial):
            inner = inner.func
        module = sys.modules.get(getattr(inner, "__module__", ""))
        files.append(Path(getattr(module, "__file__", None) or ""))
    return tuple(dict.fromkeys(path.resolve() for path in files if path.is_file()))


def is_own(path: Path) -> bool:
    """Whether a file belongs to this project's packages."""
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; give a file that exists") from None


def imports(text: bytes, path: Path, package: str = "") -> Iterator[str]:
    """Absolute names of all modules that a file's text imports, anywhere in it.

    Imports for type checking alone are left out, because they do not run.

    Args:
        text: the file's bytes.
        path: the file, for the message.
        package: the file's package, for relative imports.

    Raises:
        InputError: the text is no Python.
    """
    try:
        yield from _imports(text, package)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not Python: {error}; fix the file") from error


@lru_cache(maxsize=1024)
def _imports(text: bytes, package: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            # `from zoo import patches` names a file, as `import zoo.patches` does.
            found |= dict.fromkeys([base, *(f"{base}.{alias.name}" for alias in node.names)])
        waiting += ast.iter_child_nodes(node)
    return tuple(found)


@lru_cache(maxsize=1024)
def _own_files(root: Path, module: str) -> list[Path]:
    """The files of this project that run if a module is imported; packages before modules."""
    parts, found = module.split("."), []
    for length in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:length])
        found += [path for path in (place / "__init__.py", place.with_suffix(".py"))
                  if path.is_file()]  # fmt: skip
    return found


def _package(path: Path) -> str:
    """The package that a file belongs to, as folders with an `__init__.py` say; '' for none."""
    parts: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _foreign(module: str, found: dict[str, str]) -> list[Path]:
    """Note a module from outside this project; the file to follow, if the module is a single file.

    Args:
        module: its absolute name; the standard library and `IN_EVERY_KEY` are left out.
        found: receives a package's hash by the package's name.
    """
    top = module.split(".", maxsplit=1)[0]
    if not top or top in sys.stdlib_module_names or top in IN_EVERY_KEY or top in found:
        return []
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        found[top] = "not installed"
        return []
    if spec.submodule_search_locations:
        for folder in spec.submodule_search_locations:
            found |= _whole(Path(folder), top)
        return []
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


_LARGE = 64 * 2**20
"""Bytes: a larger package counts by its distribution's version."""


def _whole(folder: Path, name: str) -> dict[str, str]:
    """A package by name, with the hash of all its Python files, or the version if it is large."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".so", ".pyd")]
    if sum(path.stat().st_size for path in files) > _LARGE:
        owners = importlib.metadata.packages_distributions().get(name, [])
        return {name: " ".join(f"{each} {importlib.metadata.version(each)}" for each in owners)}
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder)} ".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {name: digest.hexdigest()}
