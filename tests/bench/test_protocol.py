from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from bench import protocol
from bench.protocol import PROTOCOLS, Protocol
from zoo.errors import InputError

NAMES = [
    "srcnn2014",
    "vdsr2016",
    "idn2018",
    "selfexsr2015",
    "rcan2018",
    "rcan2018-gray-as-luma",
    "lapsrn2017",
    "lapsrn2017-gray-as-luma",
    "srmd2018",
    "edsr2017-div2k",
    "laljavid",
]
RULES = [field.name for field in fields(Protocol) if field.name not in ("name", "source")]


def another(rule: str, value: Any) -> Any:
    """Something else that the rule may be."""
    if rule in protocol._CHOICES:
        return next(choice for choice in protocol._CHOICES[rule] if choice != value)
    others = {"round_lr_once_at": (8,), "clip_interpolated": (1.0, 2.0)}
    return others.get(rule, value + 1 if isinstance(value, int) else "another")


def test_every_pinned_protocol_is_named() -> None:
    assert set(NAMES) <= set(PROTOCOLS)
    assert all(PROTOCOLS[name].name == name for name in PROTOCOLS)


def test_hashes_are_all_distinct() -> None:
    assert len({known.sha256 for known in PROTOCOLS.values()}) == len(PROTOCOLS)


@pytest.mark.parametrize("rule", RULES)
def test_hash_changes_with_the_rule(rule: str) -> None:
    known = protocol.load("srcnn2014")
    changed = replace(known, **{rule: another(rule, getattr(known, rule))})
    assert changed.sha256 != known.sha256


@pytest.mark.parametrize("label", ["name", "source"])
def test_hash_does_not_change_with_the_label(label: str) -> None:
    known = protocol.load("srcnn2014")
    assert replace(known, **{label: "other"}).sha256 == known.sha256


def test_named_protocols_are_frozen() -> None:
    known = protocol.load("vdsr2016")
    with pytest.raises(FrozenInstanceError):
        known.edges = "replicate"  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes",
    [{"round_lr": False}, {"ycbcr": "double"}, {"degrade": "luma", "round_luma": False}],
    ids=str,
)
def test_opencv_is_refused_what_has_other_than_8_bits(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="protocol mine: opencv resizes 8 bits only; set"):
        replace(protocol.load("laljavid"), name="mine", **changes)


def test_unknown_protocol_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no protocol 'vdsr2017'; did you mean 'vdsr2016'.*\?"):
        protocol.load("vdsr2017")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("srcnn2014", [2, 3, 4]), ("edsr2017-div2k", [8, 9, 10]), ("laljavid", [0, 0, 0])],
)
def test_border_at_each_scale(name: str, expected: list[int]) -> None:
    assert [protocol.load(name).border(scale) for scale in (2, 3, 4)] == expected


def test_psnr_is_named_after_the_channel() -> None:
    assert protocol.load("srcnn2014").psnr == "psnr_y"
    assert protocol.load("laljavid").psnr == "psnr_rgb"


@pytest.mark.parametrize("name", NAMES)
def test_protocol_says_where_its_rules_come_from(name: str) -> None:
    assert protocol.load(name).source
