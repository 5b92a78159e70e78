"""Filling the page's templates; every value is escaped on its way in."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import quantities

FOLDER = Path(__file__).parent / "templates"

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals["UNMEASURED"] = quantities.UNMEASURED


def fill(name: str, **values: object) -> str:
    """The template `name`.html.j2 with these values: HTML."""
    return _ENVIRONMENT.get_template(f"{name}.html.j2").render(values)
