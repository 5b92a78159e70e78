"""The kinds of sources: what each source's file states, read without importing it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from bench.files import registry
from bench.sources.card import KINDS

FOLDER = Path(__file__).parent
FACTS = ("FIELD", "SUFFIXES", "EXTRA", "MODULES", "EXAMPLE")
"""Constants of a source's file; a file in this folder is a source if it has the first."""


@dataclass(frozen=True)
class SourceFacts:
    """What a source's file states, read without importing it."""

    module: str
    field: str
    suffixes: tuple[str, ...]
    extra: str
    modules: tuple[str, ...]
    example: str

    @property
    def missing(self) -> list[str]:
        """Modules of the extra that are not installed."""
        return [name for name in self.modules if find_spec(name) is None]


@lru_cache(maxsize=1)
def known() -> tuple[SourceFacts, ...]:
    """The sources, in the order of `KINDS`."""
    found = []
    for name in registry.module_names(FOLDER):
        if "FIELD" in registry.literals(FOLDER, name):
            facts = registry.facts("source", FOLDER, name, FACTS)
            found.append(SourceFacts(name, *(facts[fact] for fact in FACTS)))
    return tuple(sorted(found, key=lambda source: KINDS.index(source.field)))


def of_field(field: str) -> SourceFacts:
    """The source with this field in a card."""
    return next(source for source in known() if source.field == field)
