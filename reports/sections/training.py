"""Trained weights: recipe, data, duration and training curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import curves, quantities
from reports.curves import Curve
from reports.quantities import UNMEASURED
from reports.tables import Tables, distinct, latest, machine_name, scale_name
from reports.template import fill

TITLE = "Training"
ORDER = 42

_LONG = ("curve", "code", "tensors")
"""Facts that the page does not list, because they are too long to read."""
_PSNR = "psnr"


@dataclass(frozen=True)
class Network:
    """Trained weights with the facts of their training."""

    number: int
    """Row of the table, from 0; also decides the curve's hue and dashes."""
    sha256: str
    """Of the final weights."""
    methods: str
    """All methods with these weights; a self-ensemble has the weights of the network."""
    weights: str
    """The weights' names in results, separated by commas."""
    scales: str
    facts: dict[str, str]
    curve: list[dict[str, float]]
    """The training log, a dictionary per logged update; empty for methods without updates."""

    @property
    def label(self) -> str:
        """The name in panels."""
        return f"{self.number + 1} {self.facts['method']}"

    @property
    def scale(self) -> int:
        """The scale of the validation."""
        return int(self.facts["scale"])

    @property
    def validated(self) -> str:
        """The dataset and protocol of the validation; '' if there was none."""
        return ", ".join(filter(None, map(self.facts.get, ("validated on", "validated by"))))

    def points(self, key: str) -> list[tuple[float, float]]:
        """(update, value) pairs of a column of the log."""
        return [
            (row["update"], row[key])
            for row in self.curve
            # Validations are rarer than logged losses, so a row may lack the column.
            if math.isfinite(row.get(key, math.nan)) and row["update"] >= 1
        ]


@dataclass(frozen=True)
class Line:
    """A network's line in the table."""

    network: Network
    hue: int
    dashes: str
    recipe: str
    citation: str
    start: str
    data: str
    updates: str
    of_the_source: str
    """The number of updates that the recipe's source states."""
    time: str
    device: str
    seed: str
    psnr: str
    features: str
    """The network of a perceptual loss; '' for other losses."""
    stands_in: bool
    """Whether `features` replaces the network that the recipe's source states."""


@dataclass(frozen=True)
class Group:
    """The panels of a scale."""

    caption: str
    panels: list[str]


def render(tables: Tables) -> str | None:
    """The table of networks, their curves and all their facts; None without trained weights."""
    found = networks(tables.trainings)
    if not found:
        return None
    keys = distinct(key for network in found for key in network.facts if key not in _LONG)
    return fill(
        "training",
        lines=[line(network) for network in found],
        groups=groups(found, levels(tables.results)),
        networks=found,
        keys=keys,
    )


def networks(trainings: pd.DataFrame) -> list[Network]:
    """The trained networks. A network of several methods or scales occurs once."""
    made = []
    for number, (sha256, rows) in enumerate(trainings.groupby("sha256", sort=False)):
        facts = dict(zip(rows["key"], rows["value"], strict=True))
        made.append(
            Network(
                number,
                str(sha256),
                ", ".join(distinct(rows["method"])),
                ", ".join(name for name in distinct(rows["weights"]) if name),
                " ".join(scale_name(scale) for scale in sorted(set(rows["scale"]))),
                facts,
                json.loads(facts.get("curve", "[]")),
            )
        )
    return made


def line(network: Network) -> Line:
    """A network's line in the table."""
    facts = network.facts
    hue, dashes = curves.look(network.number)
    # Weights of the best validation have a log that ends earlier than the training did.
    done = network.curve[-1]["update"] if network.curve else facts.get("updates", "")
    psnr = network.points(_PSNR)
    features = facts.get("features", "")
    start = json.loads(facts.get("start", "[]"))
    processes = facts.get("processes", "1")
    device = machine_name(facts)
    return Line(
        network,
        hue,
        dashes,
        facts["recipe"],
        facts.get("citation", ""),
        start[0] if start else "",
        ", ".join(name for name, _ in json.loads(facts["data"])),
        _count(done),
        _count(facts.get("updates of the source", "")),
        duration(float(facts["seconds"])),
        device if processes == "1" else f"{device}, {processes} processes",
        facts["seed"],
        quantities.written("psnr_y", psnr[-1][1]) if psnr else UNMEASURED,
        features,
        "stand-in" in features,
    )


def _count(updates: Any) -> str:
    return quantities.fixed(float(updates), 0) if updates != "" else UNMEASURED


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours.

    >>> duration(44.5), duration(600), duration(9000)
    ('44.5 s', '10.0 min', '2.50 h')
    """
    for unit, length in (("h", 3600), ("min", 60)):
        # From two of a unit on: 90 s reads better than 1.50 min.
        if seconds >= 2 * length:
            return f"{quantities.significant(seconds / length, 3)} {unit}"
    return f"{quantities.significant(seconds, 3)} s"


def levels(results: pd.DataFrame) -> dict[tuple[int, str], list[tuple[str, float]]]:
    """The average PSNR of bicubic as a level for panels.

    Returns:
        (scale, "dataset, protocol") -> [("bicubic", PSNR in dB)].
    """
    found = latest(results)
    found = found[
        (found["method"] == "bicubic")
        & (found["image"] == "")
        & (found["dataset"] != "")
        & found["quantity"].str.startswith(_PSNR)
        & found["value"].notna()
    ]
    return {
        (int(scale), f"{dataset}, {protocol}"): [("bicubic", float(value))]
        for scale, dataset, protocol, value in zip(
            *(found[key] for key in ("scale", "dataset", "protocol", "value")), strict=True
        )
    }


def groups(
    found: Iterable[Network], baselines: dict[tuple[int, str], list[tuple[str, float]]]
) -> list[Group]:
    """The panels by scale, for each kind of loss and each validation dataset and protocol.

    Args:
        found: the networks.
        baselines: from `levels`.
    """
    by_scale: dict[int, list[Network]] = {}
    for network in found:
        if network.curve:
            by_scale.setdefault(network.scale, []).append(network)
    made = []
    for scale, here in sorted(by_scale.items()):
        panels: list[str] = []
        # Values of different losses do not compare, so each kind has a panel.
        for loss in distinct(map(_loss, here)):
            own = [network for network in here if _loss(network) == loss]
            drawn = _curves(own, "loss")
            if drawn:
                name = f"training-{scale}-{len(panels)}"
                title = f"Loss {loss}, {scale_name(scale)}"
                panels.append(
                    curves.curve_panel(
                        drawn, name=name, title=title, y_label="loss", logarithmic=True
                    )
                )
        for validated in distinct(network.validated for network in here):
            drawn = _curves([n for n in here if n.validated == validated], _PSNR)
            if drawn:
                panels.append(
                    curves.curve_panel(
                        drawn,
                        name=f"training-{scale}-{len(panels)}",
                        title=f"{validated}, {scale_name(scale)}",
                        y_label="PSNR, dB",
                        levels=baselines.get((scale, validated), ()),
                    )
                )
        made.append(Group(f"Training at {scale_name(scale)}", panels))
    return [group for group in made if group.panels]


def _loss(network: Network) -> str:
    """The name of the loss in the recipe."""
    return str(json.loads(network.facts["recipe settings"]).get("loss", ""))


def _curves(found: Iterable[Network], key: str) -> list[Curve]:
    """The curves of a column of the log, for the networks that have the column."""
    made = []
    for network in found:
        points = network.points(key)
        # A loss is logged often and varies from batch to batch; validations are few and exact.
        points = curves.averaged(points) if key == "loss" else points
        if points:
            made.append(Curve(network.label, network.number, points))
    return made
