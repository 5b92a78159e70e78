"""The page: all sections of the folder, in order, as one self-contained HTML file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd

from bench.result import Failure, Quantity
from reports.tables import Tables, clean
from reports.template import fill

SECTIONS = Path(__file__).parent / "sections"
"""The registry of sections: each file in this folder is a section."""


@dataclass(frozen=True)
class Section:
    """A section of the page, or the reason why the section failed."""

    name: str
    """The file's name without .py; also the section's anchor on the page."""

    title: str
    order: float
    """Sections are sorted by this number, smallest first."""
    html: str
    """Empty for a section with nothing to show."""
    error: str = ""
    """The exception in one line; empty if there was none."""


def render(
    title: str,
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    trainings: pd.DataFrame,
    known: Mapping[str, Quantity],
    elsewhere: int = 0,
    failures: Sequence[Failure] = (),
) -> str:
    """The page as HTML that loads no other file. The same tables give the same bytes.

    A section that fails does not stop the page: the page shows the error in place of the section.

    Args:
        title: the page's heading.
        results: columns `bench.result.COLUMNS`.
        verdicts: columns `bench.result.VERDICT_COLUMNS`.
        runs: columns `bench.result.RUN_COLUMNS`.
        trainings: columns `bench.result.TRAINING_COLUMNS`.
        known: quantities by name.
        elsewhere: number of results in the store that are not among `results`.
        failures: what was asked for and could not be measured.

    Raises:
        ValueError: a table has rows but lacks a column.
    """
    tables = clean(results, verdicts, runs, trainings, known, elsewhere)
    made = [_section(name, tables) for name in names()]
    shown = sorted((s for s in made if s.html or s.error), key=lambda s: (s.order, s.name))
    return fill("page", title=title, sections=shown, failures=failures)


def names() -> list[str]:
    """The names of all sections, sorted. No section is imported."""
    return sorted(path.stem for path in SECTIONS.glob("*.py") if not path.stem.startswith("_"))


def _section(name: str, tables: Tables) -> Section:
    """The section of a file. Any exception of the file becomes the section's error."""
    # A section that cannot be read has no title and order: it stands last, under its file's name.
    title, order = name, float("inf")
    try:
        module = _load(name)
        title, order = str(module.TITLE), float(module.ORDER)
        make: Callable[[Tables], object] = module.render
        html = make(tables)
        if not isinstance(html, str | None):
            raise TypeError(f"render gave {type(html).__name__}, not HTML or None")
        return Section(name, title, order, html or "")
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Section(name, title, order, "", reason)


def _load(name: str) -> ModuleType:
    """A section's file as a module."""
    # Loaded by path and not by name, so that the folder alone decides which sections exist.
    spec = importlib.util.spec_from_file_location(
        f"reports.section_files.{name}", SECTIONS / f"{name}.py"
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}.py is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks up its own module in sys.modules while the class is being defined.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
