"""A matplotlib figure as a part of a page: its fonts, its colours, ids that are unique there."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

from matplotlib.figure import Figure

# matplotlib knows no style sheets. These stand for the page's colours and are replaced by them.
INK, FAINT, ACCENT, PAPER = "#010203", "#010204", "#010205", "#010206"
HUES = tuple(f"#0102{number:02x}" for number in range(16, 22))
"""Of lines that have to be told apart."""
_VARIABLES = {INK: "--ink", FAINT: "--faint", ACCENT: "--accent", PAPER: "--paper"}
_VARIABLES |= {hue: f"--hue-{number}" for number, hue in enumerate(HUES)}

_FONTS = "'DejaVu Sans', 'Bitstream Vera Sans'"
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


def inline(figure: Figure, *, name: str, description: str) -> str:
    """The figure as an `<svg>` element for a page.

    `name` keeps its ids apart from those of other figures; `description` is for those who cannot
    see it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 (matplotlib wrote it a moment ago)
    _drop(root, "metadata", "style")
    used = {target for element in root.iter() for target in _targets(element)}
    for element in root.iter():
        _adapt(element, name, used)
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": view, "role": "img", "aria-label": description})
    return ET.tostring(root, encoding="unicode")


def _drop(root: ET.Element, *tags: str) -> None:
    """Remove what must not reach the page: the date in the metadata, style rules for all of it."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.removeprefix(_SVG) in tags:
                parent.remove(child)


def _targets(element: ET.Element) -> list[str]:
    """The ids that an element refers to."""
    found = [element.get(_HREF, "").removeprefix("#")]
    found.append(element.get("clip-path", "").removeprefix("url(#").removesuffix(")"))
    return [target for target in found if target]


def _adapt(element: ET.Element, name: str, used: set[str]) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    attributes = dict(element.attrib)
    element.attrib.clear()
    for key, value in attributes.items():
        if key == "id" and value in used:
            element.set(key, f"{name}-{value}")
        elif key == _HREF:
            element.set("href", f"#{name}-{value.removeprefix('#')}")
        elif key == "clip-path":
            element.set(key, value.replace("#", f"#{name}-"))
        elif key == "style":
            element.set(key, _styled(value))
        elif key != "id":
            element.set(key, value)


def _styled(style: str) -> str:
    """A style in the page's font and colours."""
    for placeholder, variable in _VARIABLES.items():
        style = style.replace(placeholder, f"var({variable})")
    return style.replace(_FONTS, f"var(--sans), {_FONTS}")
