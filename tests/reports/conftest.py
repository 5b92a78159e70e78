"""Tables as `bench` hands them over, made up: SRCNN's Set5 table and what was measured for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from bench.result import COLUMNS, RUN_COLUMNS, TRAINING_COLUMNS, VERDICT_COLUMNS

IMAGES = {"baby": 38.30, "bird": 40.64, "butterfly": 32.20, "head": 35.64, "woman": 34.94}
METHODS = {
    # weights, distance to SRCNN in dB, multiplies and interpolation in M, seconds
    "nearest": ("", -4.5, 0.0, 0.0, 0.001),
    "bicubic": ("", -2.7, 0.0, 0.00004, 0.002),
    "k-svd": ("t91", -0.6, 0.05, 0.00004, 1.2),
    "srcnn-9-1-5": ("91-images", 0.0, 0.032128, 0.00004, 0.11),
}


def result(**given: Any) -> dict[str, Any]:
    """A row of results; what is not given is empty."""
    row = dict.fromkeys(COLUMNS, "") | {"spread": math.nan, "source": "measured"}
    return row | {"scale": 2, "run": "run-1"} | given


def verdict(**given: Any) -> dict[str, Any]:
    """A row of verdicts: one reproduced cell of SRCNN's Set5 table, unless given otherwise."""
    row: dict[str, Any] = {
        "table": "srcnn2014_set5",
        "title": "Set5: PSNR",
        "source": "Dong et al., ECCV 2014",
        "label": "SRCNN",
        "method": "srcnn-9-1-5",
        "operation": "",
        "other": "",
        "weights": "91-images",
        "scale": 2,
        "dataset": "set5",
        "image": "",
        "protocol": "srcnn2014",
        "quantity": "psnr_y",
        "unit": "dB",
        "printed": "36.34",
        "claimed": 36.34,
        "measured": 36.3441,
        "tolerance": 0.005,
        "verdict": "reproduced",
        "reason": "",
    }
    row |= given
    return row | {"difference": row["measured"] - row["claimed"]}


def result_table(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as results."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def verdict_table(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as verdicts."""
    return pd.DataFrame(list(rows), columns=list(VERDICT_COLUMNS))


def _measured(method: str, scale: int) -> list[dict[str, Any]]:
    weights, distance, multiplies, interpolation, seconds = METHODS[method]
    shared = {"method": method, "weights": weights, "scale": scale}
    on_set = shared | {"dataset": "set5", "protocol": "srcnn2014"}
    psnr = {image: v + distance - 4 * (scale - 2) for image, v in IMAGES.items()}
    psnr[""] = sum(psnr.values()) / len(psnr)
    rows = []
    for image, value in psnr.items():
        at = on_set | {"image": image}
        rows.append(result(**at, quantity="psnr_y", value=value, unit="dB"))
        rows.append(result(**at, quantity="ssim_y", value=1 - 10 ** (-value / 26)))
    counted = "multiplies_per_input_px"
    shared["weights"] = ""  # a cost is the same for all weights
    rows.append(result(**shared, quantity=counted, value=multiplies, unit="M"))
    if interpolation:
        under = shared | {"protocol": "srcnn2014", "unit": "M", "value": interpolation}
        rows.append(result(**under, quantity=f"interpolation_{counted}"))
    rows.append(result(**shared, quantity="parameters", value=round(1e6 * multiplies / 4)))
    timed = {"quantity": "seconds", "value": seconds, "unit": "s", "spread": seconds / 20}
    rows.append(result(**shared, **timed, note="median of 10"))
    return rows


@pytest.fixture
def results() -> pd.DataFrame:
    """Four methods on Set5 at two scales, with costs; one value that could not be measured."""
    rows = [row for method in METHODS for scale in (2, 3) for row in _measured(method, scale)]
    rows.append(
        result(
            method="sc",
            dataset="set5",
            scale=3,
            protocol="srcnn2014",
            quantity="psnr_y",
            value=math.nan,
            unit="dB",
            note="not measured: no dictionary was published",
        )
    )
    return result_table(*rows)


@pytest.fixture
def verdicts() -> pd.DataFrame:
    """A paper table with every verdict, the average printed before the images."""
    return verdict_table(
        verdict(),
        verdict(image="baby", printed="38.30", claimed=38.30, measured=38.3012),
        verdict(
            image="foreman",
            printed="33.35",
            claimed=33.35,
            measured=33.4004,
            verdict="deviates",
            reason="differs by +0.0504 dB, 0.005 allowed",
        ),
        verdict(
            label="SC",
            method="sc",
            scale=3,
            printed="31.42",
            claimed=31.42,
            measured=math.nan,
            verdict="claim inconsistent",
            reason="the mean of the printed rows is 31.238",
        ),
        verdict(
            label="SC",
            method="sc",
            image="baby",
            printed="34.29",
            claimed=34.29,
            measured=math.nan,
            verdict="not measured",
            reason="zoo holds no method sc",
        ),
    )


@pytest.fixture
def no_verdicts() -> pd.DataFrame:
    """No paper table was asked for."""
    return verdict_table()


@pytest.fixture
def runs() -> pd.DataFrame:
    """One run on a processor."""
    facts = {"machine": "node-7", "processor": "EPYC 9654", "device": "cpu", "threads": "16"}
    facts |= {"torch": "2.9.0", "command": "sisrbench run --table srcnn2014_set5"}
    return pd.DataFrame([("run-1", k, v) for k, v in facts.items()], columns=list(RUN_COLUMNS))


def training(
    name: tuple[str, str, str, int], curve: list[dict[str, float]] | None = None, **given: str
) -> pd.DataFrame:
    """The rows of one training, by SHA-256, method, weights and scale, `given` added to its facts.

    A network where there is a curve.
    """
    facts = {
        "method": name[1],
        "scale": str(name[3]),
        "recipe": "short",
        "citation": "this project",
        "recipe settings": json.dumps({"loss": "l2", "scales": []}),
        "data": json.dumps([["t91", "0" * 64], ["bsds200", "1" * 64]]),
        "seed": "7",
        "seconds": "93.8",
        "processor": "EPYC 9654",
        "threads": "1",
    }
    if curve:
        facts |= {"curve": json.dumps(curve), "updates": "600", "updates of the source": "2000"}
        facts |= {"validated on": "set5", "validated by": "srcnn2014"}
    rows = [(*name, key, value) for key, value in (facts | given).items()]
    return pd.DataFrame(rows, columns=list(TRAINING_COLUMNS))


CURVE: list[dict[str, float]] = [
    {"update": 1, "seconds": 0.5, "loss": 0.01},
    {"update": 300, "seconds": 40.0, "loss": 0.004, "psnr": 31.0},
    {"update": 600, "seconds": 93.0, "loss": 0.002, "psnr": 31.5678},
]


@pytest.fixture
def trainings() -> pd.DataFrame:
    """A network, which is measured as an ensemble too, and a method that has no curve."""
    return pd.concat(
        [
            training(("a1" * 32, "srcnn-9-1-5", "ours.safetensors", 3), CURVE),
            training(
                ("a1" * 32, "srcnn-9-1-5+", "ours.safetensors", 3), CURVE, method="srcnn-9-1-5"
            ),
            training(("b2" * 32, "k-svd", "t91", 2), recipe="t91"),
        ]
    )


Make = Callable[..., dict[str, Any]]
MakeTable = Callable[..., pd.DataFrame]


@pytest.fixture
def a_result() -> Make:
    """Makes a row of results."""
    return result


@pytest.fixture
def a_verdict() -> Make:
    """Makes a row of verdicts."""
    return verdict


@pytest.fixture
def as_results() -> MakeTable:
    """Makes a table of rows of results."""
    return result_table


@pytest.fixture
def as_verdicts() -> MakeTable:
    """Makes a table of rows of verdicts."""
    return verdict_table


@pytest.fixture
def a_training() -> MakeTable:
    """Makes the rows of one training."""
    return training
