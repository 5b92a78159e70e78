"""The values of every image, in folded parts that readers can open."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from reports import scores
from reports.scores import Gap, Score
from reports.tables import Method, Tables, distinct, latest, methods
from reports.template import fill

TITLE = "Per image"
ORDER = 50


@dataclass(frozen=True)
class Line:
    """An image, or the average, with a cell per method."""

    name: str
    average: bool
    cells: list[list[Score]]


@dataclass(frozen=True)
class ImageTable:
    """A quantity, or PSNR and SSIM, on every image."""

    title: str
    methods: list[Method]
    lines: list[Line]


@dataclass(frozen=True)
class Fold:
    """The tables of a dataset, scale and protocol."""

    name: str
    protocol: str
    count: int
    """The number of images."""
    tables: list[ImageTable]
    gaps: list[Gap]


def render(tables: Tables) -> str | None:
    """The folds by dataset, scale and protocol; None if no image was measured."""
    results = latest(tables.results)
    folds = [
        fold(found)
        for _, found in results.groupby(["dataset", "scale", "protocol"], sort=False)
        if (found["image"] != "").any()
    ]
    return fill("per_image", folds=folds) if folds else None


def fold(results: pd.DataFrame) -> Fold:
    """The fold of a dataset, scale and protocol.

    Args:
        results: results of this dataset, scale and protocol only, averages included.
    """
    first = results.iloc[0]
    images = [image for image in distinct(results["image"]) if image]
    return Fold(
        name=scores.where(first["dataset"], first["scale"]),
        protocol=first["protocol"],
        count=len(images),
        tables=[
            image_table(found[found["quantity"].isin(pair)], pair)
            for _, found in results.groupby("machine", sort=False)
            for pair in scores.pairs(found.loc[found["image"] != "", "quantity"])
        ],
        gaps=scores.gaps(results),
    )


def image_table(results: pd.DataFrame, pair: tuple[str, ...]) -> ImageTable:
    """The table of a quantity, or of PSNR and SSIM: images down, methods across, average last."""
    index = scores.index(results)
    columns = methods(results)
    scale, dataset = results["scale"].iloc[0], results["dataset"].iloc[0]
    lines = []
    # The average is the image '': the key sorts it last and keeps the order of the others.
    for image in sorted(distinct(results["image"]), key=lambda image: not image):
        ranked = [
            scores.ranked(key, [index.get((*m, scale, dataset, image, key)) for m in columns])
            for key in pair
        ]
        lines.append(Line(image or "average", not image, scores.cells(ranked)))
    machine = results["machine"].iloc[0]
    title = scores.title(pair, scores.units(results))
    return ImageTable(f"{title}, on {machine}" if machine else title, columns, lines)
