"""SR files that another program has made, as a method: they are scored, nothing is computed."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from bench.sources.card import Card
from zoo.errors import InputError
from zoo.method import SCALE, Method, Settings

FIELD = "images"
SUFFIXES = ()
EXTRA = ""
MODULES = ()
EXAMPLE = "out/x{scale}"
_OF_NETWORKS = {"takes": "", "channels": "", "range": 0, "luma": "", "layout": "", "multiple": 1}
"""Fields of a card that say how a network is run, with their defaults."""
_NAMED_BY_SCALE = re.compile(r"(?:.*[^a-z0-9])?x(?P<scale>[2-9])", re.IGNORECASE)


def method(card: Card) -> Method:
    """The method of a card with SR files; `outputs` gives their folder.

    Raises:
        InputError: a field that belongs to a network, or no folder.
    """
    for name, default in _OF_NETWORKS.items():
        if getattr(card, name) != default:
            raise InputError(f"{card.label}: {name} belongs to a network, not to images; leave it "
                             "out")  # fmt: skip
    scales = card.scales or card.scales_found() or _scale_in_name(card)
    return replace(
        card.method(channels="any", scales=scales),
        build=_nothing,
        outputs=partial(_folder, card),
        source=Path(__file__),
    )


def _scale_in_name(card: Card) -> tuple[int, ...]:
    """The scale that the folder's name ends with, as `out/x4` and `espcn_x4` do; else ()."""
    found = _NAMED_BY_SCALE.fullmatch(Path(card.source).name)
    return (int(found["scale"]),) if found and SCALE not in card.source else ()


def _folder(card: Card, scale: int) -> Path:
    return card.path(scale)


def _nothing(scale: int, settings: Settings) -> nn.Module:
    """A module that is never run."""
    return nn.Identity()
