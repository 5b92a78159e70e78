"""What papers print, re-measured: costs, and rules that hold for every table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

import zoo
from bench import datasets, evaluate, images, measure, plan, protocol, published
from bench.files import fetch, weights
from bench.progress import Progress
from bench.published import PaperTable

Judge = Callable[[list[PaperTable]], pd.DataFrame]


CPU = torch.device("cpu")
COUNTED = ("honda2018_fig6", "edsr2017_table1", "edsr2017_models", "carn2018_costs")


@pytest.fixture(scope="module")
def counted(
    judged: Judge, offline: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> pd.DataFrame:
    """Needs no images: what is claimed on images is not measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SISRBENCH_MIRROR", raising=False)
        patch.setenv("SISRBENCH_CACHE", str(tmp_path_factory.mktemp("empty")))
        return judged([published.load(name) for name in COUNTED])


@pytest.fixture(scope="module")
def honda(counted: pd.DataFrame) -> pd.DataFrame:
    return counted[counted["table"] == "honda2018_fig6"]


def test_every_bar_of_honda_2018_is_reproduced(honda: pd.DataFrame) -> None:
    bars = honda[honda["quantity"] == "multiplies_per_input_px"]
    bars = bars[bars["other"] == ""]
    assert len(bars) == 11
    assert set(bars["verdict"]) == {"reproduced"}


def test_thirty_times_holds_for_the_srresnet_of_the_edsr_paper_only(honda: pd.DataFrame) -> None:
    rows = honda[honda["unit"] == "times"].set_index("other")
    assert set(rows["method"]) == {"edsr"}
    assert set(rows["operation"]) == {"/"}
    ratios = {"srresnet-3x3": 29.675, "srresnet": 28.2525}
    assert rows["measured"].to_dict() == pytest.approx(ratios, abs=5e-4)
    assert rows["verdict"].to_dict() == {"srresnet-3x3": "reproduced", "srresnet": "deviates"}


@pytest.mark.parametrize("table", ["edsr2017_table1", "edsr2017_models"])
def test_parameters_that_the_authors_of_edsr_state(counted: pd.DataFrame, table: str) -> None:
    rows = counted[counted["table"] == table]
    assert set(rows["verdict"]) == {"reproduced"}


def test_multiply_adds_that_the_literature_states(counted: pd.DataFrame) -> None:
    rows = counted[counted["table"] == "carn2018_costs"]
    ours = rows[rows["method"].isin(zoo.names())]
    assert len(ours) == 5 * 3 + 4 * 3 - 3
    deviating = ours[ours["verdict"] == "deviates"]
    assert set(deviating["method"]) == {"memnet"}
    assert set(deviating["measured"]) == {2662.3475712}  # 2662.35 would round to what is printed
    assert set(ours["verdict"]) == {"reproduced", "deviates"}
    unknown = rows[~rows["method"].isin(zoo.names())]
    assert set(unknown["verdict"]) == {"not measured", "claim inconsistent"}


def test_hondas_gain_of_edsr_is_inconsistent_with_its_source(honda: pd.DataFrame) -> None:
    (row,) = honda[(honda["method"] == "edsr") & (honda["other"] == "srcnn-9-5-5")].to_dict(
        "records"
    )
    assert row["verdict"] == "claim inconsistent"
    assert "2.14 is EDSR+" in row["reason"]


def test_a_cost_that_nothing_measures_says_so(honda: pd.DataFrame) -> None:
    reasons = honda[honda["quantity"] == "residual_blocks"]["reason"]
    assert set(reasons) == {"stated in the text"}


def test_the_number_of_threads_changes_no_digit_of_psnr(mirror: Path) -> None:
    method, tag = zoo.load("srcnn-9-1-5")
    rules = protocol.load("srcnn2014")
    request = plan.AccuracyRequest(method, tag, 2, datasets.load("set5", Progress()), rules)
    (unit,) = plan.accuracy_units([request], torch.device("cpu"), ["psnr"])
    weights.download(method, unit.weights, Progress())
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            found.append([result.value for result in measure.measure(unit, Progress())])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


def test_benchmark_lr_is_what_the_rcan_rules_make(mirror: Path) -> None:
    manifest = datasets.manifest("set5")
    fetch.fetch_missing("set5", [file for _, _, file in manifest.files], Progress())
    for scale in (2, 3, 4, 8):
        for image, file in manifest.role(f"LR_x{scale}_benchmark").items():
            pixels = images.decode(fetch.local_path(manifest.role("HR")[image]))
            _, lr = evaluate.hr_and_lr(pixels, scale, protocol.load("rcan2018"), "any", CPU)
            assert (images.to_pixels(lr) == images.decode(fetch.local_path(file))).all()
