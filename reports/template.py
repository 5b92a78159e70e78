"""Filling HTML templates. Every value is escaped, except where a template says `safe`."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import quantities

FOLDER = Path(__file__).parent / "templates"

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    # A misspelt name in a template raises an error; by default the text would be empty.
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals["UNMEASURED"] = quantities.UNMEASURED
_ENVIRONMENT.globals["APPROXIMATE"] = quantities.APPROXIMATE


def fill(name: str, **values: object) -> str:
    """HTML: the template `name`.html.j2 filled with the values."""
    return _ENVIRONMENT.get_template(f"{name}.html.j2").render(values)
