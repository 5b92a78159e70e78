"""The whole page: every section of the folder, in order, in one self-contained HTML file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd

from bench.result import Quantity
from reports.tables import Tables, clean
from reports.template import fill

SECTIONS = Path(__file__).parent / "sections"
"""The folder that is the registry of sections."""


@dataclass(frozen=True)
class Section:
    """One section of the page, or why it could not be made."""

    name: str
    """Its file's name: the section's anchor on the page."""

    title: str
    order: float
    html: str
    error: str = ""
    """One line; empty where all went well."""


def render(
    title: str,
    results: pd.DataFrame,
    verdicts: pd.DataFrame,
    runs: pd.DataFrame,
    trainings: pd.DataFrame,
    known: Mapping[str, Quantity],
) -> str:
    """The whole page: HTML that loads nothing from anywhere.

    The tables and the `known` quantities are those of `reports.tables.clean`.

    The same tables give the same bytes.
    """
    tables = clean(results, verdicts, runs, trainings, known)
    made = [_section(name, tables) for name in names()]
    shown = sorted((s for s in made if s.html or s.error), key=lambda s: (s.order, s.name))
    return fill("page", title=title, sections=shown)


def names() -> list[str]:
    """Names of the sections there are, sorted; nothing is imported."""
    return sorted(path.stem for path in SECTIONS.glob("*.py") if not path.stem.startswith("_"))


def _section(name: str, tables: Tables) -> Section:
    """One section made; whatever goes wrong in its file becomes its error."""
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
    """The section's file as a module; by path, so that the folder alone decides what there is."""
    spec = importlib.util.spec_from_file_location(
        f"reports.section_files.{name}", SECTIONS / f"{name}.py"
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}.py is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up while it is defined.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
