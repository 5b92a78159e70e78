"""A matplotlib figure as part of a page: with the page's fonts and colours, and unique ids."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

from matplotlib.figure import Figure

# Matplotlib cannot write CSS variables. These placeholder colours are replaced by variables later.
INK, FAINT, ACCENT, PAPER = "#010203", "#010204", "#010205", "#010206"
HUES = tuple(f"#0102{number:02x}" for number in range(16, 22))
"""Placeholder colours for lines that readers must tell apart."""
_VARIABLES = {INK: "--ink", FAINT: "--faint", ACCENT: "--accent", PAPER: "--paper"}
_VARIABLES |= {hue: f"--hue-{number}" for number, hue in enumerate(HUES)}

# As matplotlib writes the start of its default font list.
_FONTS = "'DejaVu Sans', 'Bitstream Vera Sans'"
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


def inline(figure: Figure, *, name: str, description: str) -> str:
    """The figure as an `<svg>` element for a page.

    Args:
        figure: drawn with the placeholder colours of this module.
        name: prefix of the ids, different for each figure of a page.
        description: the figure's content in words, for screen readers.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 (matplotlib wrote it a moment ago)
    _drop(root, "metadata", "style")
    used = {target for element in root.iter() for target in _targets(element)}
    for element in root.iter():
        _adapt(element, name, used)
    # The style sheet sets the size, so width and height go. The view box keeps the proportions.
    view = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": view, "role": "img", "aria-label": description})
    return ET.tostring(root, encoding="unicode")


def _drop(root: ET.Element, *tags: str) -> None:
    """Remove all elements of these names."""
    # Metadata holds the date, so two pages would differ. A style element would apply to the page.
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.removeprefix(_SVG) in tags:
                parent.remove(child)


def _targets(element: ET.Element) -> list[str]:
    """The ids of the elements that an element refers to."""
    found = [element.get(_HREF, "").removeprefix("#")]
    found.append(element.get("clip-path", "").removeprefix("url(#").removesuffix(")"))
    return [target for target in found if target]


def _adapt(element: ET.Element, name: str, used: set[str]) -> None:
    """Give the element plain names, prefixed ids and the page's style."""
    # Inside HTML, SVG elements carry no namespace.
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
    """A style attribute with the page's font and colours."""
    for placeholder, variable in _VARIABLES.items():
        style = style.replace(placeholder, f"var({variable})")
    return style.replace(_FONTS, f"var(--sans), {_FONTS}")
