"""Trials: arms trained from every seed, measured, and held to what is claimed."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

import zoo
from bench import experiments, published
from bench.claims import experiment_run
from bench.claims.experiment_run import ArmWeights
from bench.cli import main as cli
from bench.experiments import Arm, ArmComparison, Experiment
from bench.files import weights
from bench.result import Result
from zoo.errors import InputError

TRIAL = """
title = "Learning"
source = "Doe, A Paper, 2026"
note = "slim"
scale = 2
dataset = "photos"
protocol = "rcan2018"
data = ["photos"]
seeds = 2

[[arm]]
name = "first"
method = "srresnet:blocks=1,features=4,norm=none"
recipe = "short"
changes = { updates = "3", patch = "8", rate = "0.01" }

[[arm]]
name = "still"
method = "srresnet:blocks=1,features=4,norm=none"
recipe = "short"
changes = { updates = "2", patch = "8", rate = "1e-30", loss = "l2" }

[[arm]]
name = "onward"
method = "srgan:blocks=1,features=4,norm=none"
recipe = "cvpr2017-mse"
changes = { updates = "2", patch = "8", rate = "1e-30", batch = "2", loss = "l2" }
start = "first"

[[claim]]
left = "first"
right = "still"
quantity = "psnr_y"
above = -99
text = "Who learns does not fall far behind"

[[claim]]
left = "onward"
right = "first"
quantity = "detail_y"
text = "Who goes on gets more detail"
"""
TABLE = """# title: Table 1
# source: Doe, A Paper, 2026
# labels: bicubic=Bicubic
method,weights,scale,dataset,image,protocol,quantity,value,unit,note
bicubic,,2,photos,,rcan2018,psnr_y,1.00,dB,
"""
ARMS = ("first", "still", "onward")


def run(*arguments: object) -> int:
    return cli.status([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The error line of a command that has to end with status 2."""
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert not any(line.startswith("Traceback") for line in lines)
    assert lines[-1].startswith("Error: ")
    return lines[-1]


def tensors(path: Path) -> dict[str, Tensor]:
    return dict(safetensors.torch.load_file(path))


def trained(out: Path, arm: str, seed: int, experiment: str = "doe2026_trial") -> Path:
    return out / "trained" / experiment / f"{experiment}.{arm}.seed{seed}.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with photos, two experiments and a table that commands find."""
    folder = tmp_path_factory.mktemp("trial")
    for number, (height, width) in enumerate([(26, 30), (31, 24)]):
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        large = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        (folder / "photos").mkdir(exist_ok=True)
        large.save(folder / "photos" / f"{number}.png")
    for name in ("experiments", "tables"):
        (folder / name).mkdir()
    (folder / "experiments" / "doe2026_trial.toml").write_text(TRIAL)
    again = TRIAL.replace("seeds = 2", "seeds = 1").replace('"0.01"', '"0.02"')
    (folder / "experiments" / "doe2026_again.toml").write_text(again)
    (folder / "tables" / "doe2026_table1.csv").write_text(TABLE)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "FOLDER", folder / "experiments")
        patch.setattr(published, "FOLDER", folder / "tables")
        patch.chdir(folder)
        yield folder
    torch.set_num_threads(threads)


COMMAND = ("reproduce", "doe2026_trial", "doe2026_table1", "doe2026_again")
HOW = ("--threads", 1, "--repeat", 1, "--out", "out@1")


@pytest.fixture(scope="module")
def out(place: Path) -> Path:
    """What the two experiments and the table leave behind."""
    assert run(*COMMAND, *HOW) == 0
    return place / "out@1"


@pytest.fixture(scope="module")
def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_arm_is_trained_from_every_seed_and_measured(
    out: Path, rows: list[dict[str, str]]
) -> None:
    names = {trained(out, arm, seed).name for arm in ARMS for seed in (0, 1)}
    names |= {trained(out, arm, 0, "doe2026_again").name for arm in ARMS}
    assert {path.name for path in out.glob("trained/*/*.safetensors")} == names
    on_photos = [row for row in rows if row["dataset"] == "photos"]
    found = {(row["weights"], row["image"], row["quantity"]) for row in on_photos}
    measured = ("psnr_y", "ssim_y", "detail_y")
    ours = {(name, image, q) for name in names for image in ("0", "1", "") for q in measured}
    assert found >= ours
    assert {name for name, _, _ in found - ours} == {""}  # bicubic's
    assert not any(quantity == "ssim_rgb" for _, _, quantity in found)


def test_page_shows_claims_of_experiments_and_of_tables(out: Path) -> None:
    page = (out / "index.html").read_text(encoding="utf-8")
    for said in ("Who learns does not fall far behind", "Who goes on gets more detail", "Table 1"):
        assert said in page
    assert "Doe, A Paper, 2026" in page
    assert "2 updates of onward after 3 updates of first" in page


def test_seeds_differ(out: Path) -> None:
    for arm in ARMS:
        one, other = (tensors(trained(out, arm, seed)) for seed in (0, 1))
        assert all(not torch.equal(one[key], other[key]) for key in one if one[key].ndim > 1)


@pytest.mark.parametrize("seed", [0, 1])
def test_arms_of_one_method_begin_with_the_weights_that_the_seed_draws(
    out: Path, seed: int
) -> None:
    method, _ = zoo.load("srresnet:blocks=1,features=4,norm=none")
    drawn = weights.fresh(method, 2, seed).state_dict()
    still, first = (tensors(trained(out, arm, seed)) for arm in ("still", "first"))
    # two updates of at most 1e-30 each
    assert all(float((still[key] - value).abs().max()) < 1e-29 for key, value in drawn.items())
    # three updates of at most 0.01 each, and weights that move at all
    moved = [float((first[key] - value).abs().max()) for key, value in drawn.items()]
    assert 0 < max(moved) < 0.04


@pytest.mark.parametrize("seed", [0, 1])
def test_an_arm_starts_from_the_weights_of_the_same_seed(out: Path, seed: int) -> None:
    before, after = (tensors(trained(out, arm, seed)) for arm in ("first", "onward"))
    assert all(float((after[key] - value).abs().max()) < 1e-29 for key, value in before.items())


def test_experiments_with_arms_of_one_name_are_told_apart(
    out: Path, rows: list[dict[str, str]]
) -> None:
    first = [trained(out, "first", 0, name) for name in ("doe2026_trial", "doe2026_again")]
    one, other = map(tensors, first)
    assert any(not torch.equal(one[key], other[key]) for key in one)
    values = [
        row["value"]
        for path in first
        for row in rows
        if (row["weights"], row["image"], row["quantity"]) == (path.name, "", "psnr_y")
    ]
    assert len(set(values)) == 2


def test_the_same_again_trains_and_measures_nothing(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [path for path in out.glob("trained/*/*/*.safetensors") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    table = (out / "results.csv").read_bytes()
    assert len(before) == 2 * 9  # of each training its weights, and the best on the way
    capsys.readouterr()
    assert run(*COMMAND, *HOW) == 0
    said = capsys.readouterr()
    assert "Nothing to compute" in said.err
    assert "training: " not in said.err
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert (out / "results.csv").read_bytes() == table


def test_terminal_says_what_came_of_each_claim(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("reproduce", "doe2026_trial", *HOW) == 0
    said = capsys.readouterr().out
    number = r"[+-]\d+\.\d{3}"
    assert re.search(
        rf"reproduced: Who learns does not fall far behind: {number} dB \({number}, {number} dB "
        r"by seed; 3 updates of first, 2 updates of still; slim\)",
        said,
    )
    assert re.search(
        rf"deviates: Who goes on gets more detail: {number} \({number}, {number} by seed; "
        r"2 updates of onward after 3 updates of first, 3 updates of first; slim\)",
        said,
    )
    assert re.search(r"first +psnr_y +\d+\.\d{4} +\d+\.\d{4} +2 *\n", said)


def test_strict_fails_where_a_claim_of_an_experiment_deviates(out: Path) -> None:
    assert out.is_dir()
    assert run("reproduce", "doe2026_trial", "--strict", *HOW) == 1


def test_nothing_is_trained_where_a_later_arm_cannot_be(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "experiments" / "doe2026_broken.toml"
    file.write_text(TRIAL.replace('batch = "2"', 'bacth = "2"'))
    try:
        said = refused(capsys, "reproduce", "doe2026_broken", "--out", tmp_path / "out")
    finally:
        file.unlink()
    assert "doe2026_broken, arm onward: no choice of a recipe 'bacth'; did you mean 'b" in said
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_neither_table_nor_experiment_offers_both(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.is_dir()
    said = refused(capsys, "reproduce", "doe2026_trail")
    assert "'doe2026_trail'; did you mean 'doe2026_trial'" in said
    assert "doe2026_again, doe2026_table1, doe2026_trial" in said


# Verdicts, from values made by hand

EXPERIMENT = Experiment(
    name="made",
    title="Made",
    source="by hand",
    note="slim",
    scale=2,
    dataset="set5",
    protocol="srcnn2014",
    data=("t91",),
    seeds=3,
    arms=(
        Arm(name="a", method="vdsr", recipe="short", changes={"updates": "7"}),
        Arm(name="b", method="vdsr", recipe="short", changes={"updates": "9"}),
    ),
    claims=(ArmComparison(left="a", right="b", text="a is better", quantity="psnr_y"),),
)


def made(above: float = 0.0) -> Experiment:
    claim = ArmComparison(left="a", right="b", text="a is better", quantity="psnr_y", above=above)
    return Experiment(**{**vars(EXPERIMENT), "claims": (claim,)})


def arms(seeds: int) -> list[ArmWeights]:
    return [
        ArmWeights(arm=arm, seed=seed, path=Path(f"made.{arm.name}.seed{seed}.safetensors"))
        for seed in range(seeds)
        for arm in EXPERIMENT.arms
    ]


def measured(values: dict[str, list[float]]) -> list[Result]:
    """Averages on Set5, one image's value beside each, and what others measured there."""

    def result(label: str, value: float, image: str = "", quantity: str = "psnr_y") -> Result:
        return Result(
            method="vdsr",
            weights=label,
            scale=2,
            dataset="set5",
            image=image,
            protocol="srcnn2014",
            quantity=quantity,
            value=value,
            unit="dB",
        )

    found = [result("", 99.0), result("other.safetensors", 98.0)]
    for arm, each in values.items():
        for seed, value in enumerate(each):
            label = f"made.{arm}.seed{seed}.safetensors"
            found += [result(label, 50.0, "baby"), result(label, value)]
            found.append(result(label, 0.5, quantity="ssim_y"))
    return found


DIFFERENCES = {"a": [30.1, 30.3, 30.2], "b": [30.0, 30.0, 30.0]}  # 0.1, 0.3, 0.2


@pytest.mark.parametrize(
    ("above", "verdict"),
    [(0.0, "reproduced"), (0.05, "reproduced"), (0.15, "deviates"), (0.5, "deviates")],
)
def test_a_claim_holds_where_it_does_from_every_seed(above: float, verdict: str) -> None:
    [row] = experiment_run.findings(made(above), arms(3), measured(DIFFERENCES)).to_dict("records")
    assert row["verdict"] == verdict
    assert row["measured"] == pytest.approx(0.2, abs=1e-12)
    assert row["difference"] == pytest.approx(0.2 - above, abs=1e-12)
    # by hand: squares of -0.1, 0.1, 0 add up to 0.02, over two is 0.01, whose root is 0.1
    assert row["tolerance"] == pytest.approx(0.1, abs=1e-12)
    assert row["claimed"] == above
    assert row["printed"] == f"> {above:.3f}"


def test_a_verdict_says_each_seed_the_budget_and_the_note() -> None:
    [row] = experiment_run.findings(made(), arms(3), measured(DIFFERENCES)).to_dict("records")
    assert row["reason"] == (
        "+0.100, +0.300, +0.200 dB by seed; 7 updates of a, 9 updates of b; slim"
    )
    place = (row["table"], row["scale"], row["dataset"], row["quantity"])
    assert place == ("made", 2, "set5", "psnr_y")
    assert (row["method"], row["operation"], row["other"]) == ("a", "-", "b")


def test_equal_arms_deviate_and_may_be_lower_where_the_claim_allows() -> None:
    equal = measured({"a": [30.0], "b": [30.0]})
    [row] = experiment_run.findings(made(), arms(1), equal).to_dict("records")
    assert (row["verdict"], row["measured"]) == ("deviates", 0)
    [row] = experiment_run.findings(made(-0.05), arms(1), equal).to_dict("records")
    assert (row["verdict"], row["measured"]) == ("reproduced", 0)


def test_one_seed_has_no_spread() -> None:
    one = measured({"a": [30.1], "b": [30.0]})
    [row] = experiment_run.findings(made(), arms(1), one).to_dict("records")
    assert math.isnan(row["tolerance"])
    assert row["verdict"] == "reproduced"


def test_what_was_not_measured_is_said() -> None:
    with pytest.raises(InputError, match="psnr_y of b, seed 2, was not measured"):
        experiment_run.findings(made(), arms(3), measured({**DIFFERENCES, "b": [30.0, 30.0]}))


def test_averages_are_over_seeds() -> None:
    table = experiment_run.averages(EXPERIMENT, arms(3), measured(DIFFERENCES))
    found = {(row.arm, row.quantity): (row.mean, row.std, row.count) for row in table.itertuples()}
    assert found["a", "psnr_y"] == pytest.approx((30.2, 0.1, 3))
    assert found["b", "psnr_y"] == pytest.approx((30.0, 0.0, 3))
    assert found["a", "ssim_y"] == pytest.approx((0.5, 0.0, 3))
    assert len(found) == 4


def test_budget_of_what_counts_no_updates_is_nothing() -> None:
    first = Arm(name="a", method="a-plus", recipe="")
    experiment = Experiment(**{**vars(EXPERIMENT), "arms": (first, EXPERIMENT.arms[1])})
    assert experiment_run.budget(experiment, experiment.claims[0]) == "9 updates of b"
