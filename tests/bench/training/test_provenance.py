"""Weights that were trained here: in the report, and in the place of those that claims name."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

import zoo
from bench import costs, published
from bench.claims import verdicts
from bench.claims.verdicts import SubstituteWeights
from bench.cli import main as cli
from bench.files import fetch, weights
from bench.files.whole import sha256_of
from bench.published import Claim, PaperTable
from bench.result import Result
from bench.store import Store
from bench.training import provenance
from bench.training.provenance import TrainedWeights
from zoo.errors import InputError
from zoo.method import Method, Recipe
from zoo.recipe import Descent

DESCENT = Descent(patch=17, rate=1e-3, batch=8, updates=60_000)
CURVE = [
    {"update": 300, "seconds": 3.0, "loss": 0.02},
    {"update": 600, "seconds": 6.0, "loss": 0.01, "psnr": 30.125},
]
FACTS = {
    "method": "espcn",
    "scale": "3",
    "recipe": "short",
    "citation": "this project",
    "recipe settings": json.dumps({"scales": [], "loss": "l2"}),
    "data": json.dumps([["t91", "0" * 64], ["bsds200", "1" * 64]]),
    "seed": "0",
    "seconds": "6.5",
    "updates": "600",
    "updates of the source": "60000",
    "curve": json.dumps(CURVE),
    "validated on": "set5",
    "validated by": "srcnn2014",
}
ARGS = ("-d", "demo", "--metric", "psnr", "--repeat", "1", "--threads", "1")


def write(path: Path, method: str = "espcn", scale: int = 3, **facts: str) -> Path:
    """A fresh network's weights, with facts as training writes them."""
    state = weights.fresh(zoo.load(method)[0], scale).state_dict()
    known = FACTS | {"method": method, "scale": str(scale)} | facts
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(dict(state), path, known)
    return path


def run(*arguments: str | Path) -> int:
    return cli.status([str(argument) for argument in arguments])


def visible(page: Path) -> str:
    text = re.sub(r"<style.*?</style>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def trainings(page: Path) -> str:
    """The page's section on training."""
    return page.read_text().partition('<section id="training"')[2].partition("</section>")[0]


def recipe(name: str, citation: str, updates: int) -> Recipe:
    return Recipe(
        name=name, citation=citation, data=("t91",), learn=replace(DESCENT, updates=updates)
    )


def with_recipes(*recipes: Recipe) -> Method:
    return replace(zoo.load("espcn")[0], recipes=recipes)


# What a file says


def test_facts_of_a_file_that_training_wrote(tmp_path: Path) -> None:
    assert provenance.facts_of(write(tmp_path / "a.safetensors")) == FACTS


def test_a_file_of_another_program_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, {"method": "espcn", "format": "pt"})
    assert provenance.facts_of(path) == {}
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    assert provenance.facts_of(path) == {}


def test_weights_shipped_in_the_package_say_how_they_were_trained() -> None:
    card = next(w for w in zoo.load("a-plus")[0].weights if w.scale == 3)
    facts = provenance.facts_of(fetch.local_path(weights.remote(card)))
    assert (facts["method"], facts["recipe"], facts["scale"]) == ("a-plus", "t91", "3")


@pytest.mark.parametrize(("together", "scales"), [([], (3,)), ([2, 3, 4], (2, 3, 4))])
def test_scales_are_those_learned_together(
    tmp_path: Path, together: list[int], scales: tuple[int, ...]
) -> None:
    facts = FACTS | {"recipe settings": json.dumps({"scales": together})}
    assert TrainedWeights(tmp_path, facts).scales == scales


# What a verdict says of them


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "trained here by 600 of 516,000 updates (short, t91 bsds200)"),
        ({"curve": json.dumps(CURVE[:1])}, "trained here by 300 of 516,000 updates (short, "),
        (
            {"recipe": "cvpr2016", "citation": "Shi et al.", "updates of the source": "1000"},
            "trained here by 600 of 1,000 updates (cvpr2016, t91 bsds200)",
        ),
        (
            {"features": "squeezenet1.1:fire5, a stand-in for VGG"},
            "(short, t91 bsds200; features squeezenet1.1:fire5, a stand-in for VGG)",
        ),
    ],
    ids=["own recipe", "best on the way", "recipe of the source", "stand-in"],
)
def test_remark_names_the_updates_done_and_those_of_the_paper(
    facts: dict[str, str], said: str
) -> None:
    method = with_recipes(
        recipe("short", "this project", 900_000),
        recipe("cvpr2016", "Shi et al.", 1000),
        recipe("later", "Doe et al.", 516_000),
    )
    assert said in TrainedWeights(Path("espcn.safetensors"), FACTS | facts).remark(method)


def test_remark_without_a_paper_and_without_updates() -> None:
    method = with_recipes(recipe("short", "this project", 900_000))
    assert (
        TrainedWeights(Path("e"), FACTS).remark(method).startswith("trained here by 600 updates (")
    )
    without = {k: v for k, v in FACTS.items() if k not in ("curve", "updates")}
    assert TrainedWeights(Path("e"), without).remark(method) == "trained here (short, t91 bsds200)"


# A folder of them


def test_folder_is_read_by_method_and_scale(tmp_path: Path) -> None:
    settings = json.dumps({"scales": [2, 4]})
    write(tmp_path / "many.safetensors", "vdsr", 2, **{"recipe settings": settings})
    write(tmp_path / "one.safetensors")
    for beside in ("one.best.safetensors", "one.checkpoint.safetensors"):
        write(tmp_path / beside)
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "._one.safetensors").write_bytes(b"a resource fork, no weights")
    found = {place: each.label for place, each in provenance.in_folder(tmp_path).items()}
    many, one = "many.safetensors", "one.safetensors"
    assert found == {("vdsr", 2): many, ("vdsr", 4): many, ("espcn", 3): one}


def test_two_weights_of_one_method_and_scale_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.safetensors"), write(tmp_path / "b.safetensors")
    assert run("reproduce", "honda2018_fig6", "--trained", tmp_path, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"Error: {a} and {b} are both weights of espcn x3; take one")
    assert not (tmp_path / "out").exists()


def test_folder_without_trained_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no weights that sisrbench train wrote; give the"):
        provenance.in_folder(tmp_path / "none")


def test_damaged_file_in_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(InputError, match=r"a\.safetensors cannot be read as weights: "):
        provenance.in_folder(tmp_path)


# Verdicts

BASE = Result(
    method="espcn",
    weights="imagenet",
    scale=3,
    dataset="set5",
    protocol="srcnn2014",
    quantity="psnr_y",
    value=33.13,
    unit="dB",
    spread=0.005,
)
OURS = replace(BASE, weights="ours.safetensors", value=31.90)
STAND_INS = {
    ("espcn", 3): SubstituteWeights(
        "ours.safetensors", "trained here by 6 of 9 updates (short, t91)"
    )
}


def judged(
    claims: list[Result], *results: Result, operation: str = "", other: str = ""
) -> list[tuple[str, str]]:
    made = tuple(Claim(claim, str(claim.value), operation, other) for claim in claims)
    table = PaperTable("t", "title", "source", {}, made)
    rows = verdicts.judge(table, results, lambda _: "not planned", STAND_INS)
    return list(zip(rows["verdict"], rows["reason"], strict=True))


def test_verdict_is_by_the_weights_that_stand_in_and_says_so() -> None:
    published_ones = replace(BASE, value=33.13)
    said = "trained here by 6 of 9 updates (short, t91)"
    assert judged([BASE], published_ones, OURS) == [
        ("deviates", f"differs by -1.23 dB, 0.005 allowed; {said}")
    ]
    assert judged([replace(BASE, weights="")], OURS) == [
        ("deviates", f"differs by -1.23 dB, 0.005 allowed; {said}")
    ]
    assert judged([BASE], replace(OURS, value=33.131)) == [("reproduced", said)]


def test_verdict_of_another_scale_or_of_a_cost_says_nothing_of_them() -> None:
    at_2 = replace(BASE, scale=2)
    cost = replace(BASE, weights="", dataset="", quantity="parameters", value=24.0, unit="")
    assert judged([at_2, cost], at_2, replace(cost, protocol="srcnn2014")) == [
        ("reproduced", ""),
        ("reproduced", ""),
    ]


def test_what_the_weights_did_not_measure_is_not_measured() -> None:
    assert judged([BASE], replace(BASE, value=33.13)) == [("not measured", "not planned")]


def test_difference_of_two_methods_says_whose_weights_stand_in() -> None:
    gain = replace(BASE, weights="", value=2.0)
    bicubic = replace(BASE, method="bicubic", weights="", value=30.0)
    assert judged([gain], OURS, bicubic, operation="-", other="bicubic") == [
        (
            "deviates",
            "differs by -0.1 dB, 0.005 allowed; espcn trained here by 6 of 9 updates (short, t91)",
        )
    ]


# All of it, by the command


@pytest.fixture
def no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only accuracy is measured, which is quicker."""
    monkeypatch.setattr(costs, "names", list)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A paper table on the demo images: ESPCN at two scales, its ensemble, and bicubic."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "doe.csv").write_text(
        "# title: Demo\n# source: Doe, 2026\n# labels: espcn=ESPCN\n"
        "method,weights,scale,dataset,image,protocol,quantity,value,unit,note\n"
        "espcn,,3,demo,,srcnn2014,psnr_y,99.99,dB,\n"
        "espcn+,,3,demo,,srcnn2014,psnr_y,99.99,dB,\n"
        "espcn,lost,2,demo,,srcnn2014,psnr_y,99.99,dB,\n"
        "bicubic,,3,demo,,srcnn2014,psnr_y,99.99,dB,\n"
    )
    monkeypatch.setattr(published, "FOLDER", tmp_path / "tables")
    return "doe"


@pytest.mark.usefixtures("no_costs")
def test_reproduce_judges_by_trained_weights(table: str, tmp_path: Path) -> None:
    path = write(tmp_path / "trained" / "espcn-x3-short.safetensors")
    out = tmp_path / "out"
    args = ("--repeat", "1", "--threads", "1", "--out", out)
    assert run("reproduce", table, "--trained", path.parent, *args) == 0
    found = pd.read_csv(out / "results.csv").fillna({"weights": ""})
    measured = set(zip(found["method"], found["weights"], found["scale"], strict=True))
    assert measured == {("bicubic", "", 3), ("espcn", path.name, 3), ("espcn+", path.name, 3)}
    shown = visible(out / "index.html")
    most = max(
        recipe.learn.updates
        for recipe in zoo.load("espcn")[0].recipes
        if isinstance(recipe.learn, Descent) and recipe.citation != "this project"
    )
    said = f"trained here by 600 of {most:,} updates (short, t91 bsds200)"
    assert f"dB, 0.005 allowed; {said}" in shown
    assert "espcn has no weights &#39;lost&#39;" in shown or "espcn has no weights 'lost'" in shown
    assert f"1 espcn, espcn+ {path.name}" in shown


@pytest.mark.usefixtures("no_costs")
def test_reproduce_says_where_no_claim_is_of_what_the_folder_has(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "trained" / "vdsr.safetensors", "vdsr", 2).parent
    assert run("reproduce", table, "--trained", folder, "--out", tmp_path / "out") == 0
    assert f"No claim has a method and scale of the weights in {folder}." in capsys.readouterr().err


@pytest.mark.usefixtures("no_costs")
def test_training_is_stored_shown_and_rendered_again_from_the_store_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "espcn-x3-short.safetensors")
    out = tmp_path / "out"
    methods = ("-m", f"espcn@{path}", "-m", "a-plus")
    assert run("run", *methods, "-s", "3", *ARGS, "--out", out) == 0
    store = Store(out)
    names = {tuple(row[:4]) for row in store.trainings().to_numpy().tolist()}
    store.close()
    shipped = next(w for w in zoo.load("a-plus")[0].weights if w.scale == 3)
    assert names == {
        (sha256_of(path), "espcn", path.name, 3),
        (shipped.sha256, "a-plus", "t91", 3),
    }
    shown = visible(out / "index.html")
    assert "1 espcn espcn-x3-short.safetensors" in shown
    assert "2 a-plus t91" in shown
    before = section(out / "index.html")
    path.unlink()
    assert run("report", "--out", out) == 0
    assert section(out / "index.html") == before


def section(page: Path) -> str:
    """The section on training, as HTML."""
    (found,) = re.findall('<section id="training".*?</section>', page.read_text(), re.DOTALL)
    return str(found)


@pytest.mark.usefixtures("no_costs")
def test_page_of_a_run_shows_only_the_trainings_that_it_used(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for scale in (2, 3):
        path = write(tmp_path / f"x{scale}.safetensors", "espcn", scale)
        assert run("run", "-m", f"espcn@{path}", "-s", scale, *ARGS, "--out", out) == 0
    assert "x2.safetensors" not in trainings(out / "index.html")
    assert run("report", "--out", out) == 0
    assert "x2.safetensors" in trainings(out / "index.html")
