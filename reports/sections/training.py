"""How weights were trained: by which recipe, for how long, and along which curves."""

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
"""Facts that are not for reading."""
_PSNR = "psnr"


@dataclass(frozen=True)
class Network:
    """Weights that were trained, and the facts of it."""

    number: int
    """Its place in the table, and in the order of looks."""
    sha256: str
    methods: str
    """All that results call its method: an ensemble has the weights of what it is made of."""
    weights: str
    scales: str
    facts: dict[str, str]
    curve: list[dict[str, float]]

    @property
    def label(self) -> str:
        """As panels name it."""
        return f"{self.number + 1} {self.facts['method']}"

    @property
    def scale(self) -> int:
        """The scale that it was validated at."""
        return int(self.facts["scale"])

    @property
    def validated(self) -> str:
        """The set and the protocol that its PSNR is of."""
        return ", ".join(filter(None, map(self.facts.get, ("validated on", "validated by"))))

    def points(self, key: str) -> list[tuple[float, float]]:
        """A column of the log against updates, where it has a value."""
        return [
            (row["update"], row[key])
            for row in self.curve
            if math.isfinite(row.get(key, math.nan)) and row["update"] >= 1
        ]


@dataclass(frozen=True)
class Line:
    """A network as the table shows it."""

    network: Network
    hue: int
    dashes: str
    recipe: str
    citation: str
    start: str
    data: str
    updates: str
    of_the_source: str
    time: str
    device: str
    seed: str
    psnr: str
    features: str
    stands_in: bool


@dataclass(frozen=True)
class Group:
    """The panels of one scale."""

    caption: str
    panels: list[str]


def render(tables: Tables) -> str | None:
    """A row a network, its curves, and all that its file says."""
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
    """The networks, each once however many methods and scales it serves."""
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
    """What the table says of a network."""
    facts = network.facts
    hue, dashes = curves.look(network.number)
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
    """A time in the unit that suits it.

    >>> duration(44.5), duration(600), duration(9000)
    ('44.5 s', '10.0 min', '2.50 h')
    """
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{quantities.significant(seconds / length, 3)} {unit}"
    return f"{quantities.significant(seconds, 3)} s"


def levels(results: pd.DataFrame) -> dict[tuple[int, str], list[tuple[str, float]]]:
    """Bicubic's average PSNR on this page, by scale and by set and protocol."""
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
    """Panels by scale: one for every loss that was minimised, one for every validation set."""
    by_scale: dict[int, list[Network]] = {}
    for network in found:
        if network.curve:
            by_scale.setdefault(network.scale, []).append(network)
    made = []
    for scale, here in sorted(by_scale.items()):
        panels: list[str] = []
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
    return str(json.loads(network.facts["recipe settings"]).get("loss", ""))


def _curves(found: Iterable[Network], key: str) -> list[Curve]:
    made = []
    for network in found:
        points = network.points(key)
        points = curves.averaged(points) if key == "loss" else points
        if points:
            made.append(Curve(network.label, network.number, points))
    return made
