"""Experiments: those that there are can be carried out, and what is no experiment is one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import zoo
from bench import datasets, experiments, published
from bench.claims import experiment_run
from bench.training import recipes
from zoo.errors import InputError
from zoo.recipe import Descent

GOOD = """
title = "T"
source = "S"
note = ""
scale = 2
dataset = "demo"
protocol = "srcnn2014"
data = ["demo"]
seeds = 2

[[arm]]
name = "a"
method = "srcnn-9-1-5"
recipe = "sisrbench"

[[arm]]
name = "b"
method = "srcnn-9-1-5"
recipe = "sisrbench"
changes = { updates = "9" }

[[claim]]
left = "a"
right = "b"
quantity = "psnr_y"
text = "a is better"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(experiments, "FOLDER", tmp_path)
    return tmp_path


def refused(folder: Path, text: str) -> str:
    """What is said of an experiment that is written so, the folder left out."""
    (folder / "trial.toml").write_text(text)
    with pytest.raises(InputError) as error:
        experiment_run.refuse_untrainable(experiments.load("trial"))
    said = str(error.value)
    assert "\n" not in said
    return said.replace(str(folder / "trial.toml"), "FILE")


@pytest.mark.parametrize("name", experiments.names())
def test_experiment_can_be_carried_out(name: str) -> None:
    found = experiments.load(name)
    experiment_run.refuse_untrainable(found)
    assert found.name == name
    assert all((found.title, found.source, found.note, found.arms, found.claims))
    assert {*found.data, found.dataset} <= set(datasets.names())  # no folder of somebody's
    assert {claim.quantity for claim in found.claims} <= {"psnr_y", "detail_y"}
    compared = {side for claim in found.claims for side in (claim.left, claim.right)}
    assert compared | {arm.start for arm in found.arms} >= {arm.name for arm in found.arms}
    for arm in found.arms:
        method, _ = zoo.load(arm.method)
        recipe = recipes.changed(recipes.recipe_of(method, arm.recipe), arm.changes, with_lr=False)
        assert isinstance(recipe.learn, Descent)
        assert found.seeds * recipe.learn.updates <= 10_000  # a processor does them in minutes


def test_no_experiment_is_called_as_a_paper_table_is() -> None:
    assert not set(experiments.names()) & set(published.names())


def test_what_is_written_is_what_is_found(folder: Path) -> None:
    (folder / "trial.toml").write_text(GOOD)
    found = experiments.load("trial")
    experiment_run.refuse_untrainable(found)
    assert experiments.names() == ["trial"]
    assert (found.name, found.seeds, found.data) == ("trial", 2, ("demo",))
    assert [arm.name for arm in found.arms] == ["a", "b"]
    assert (found.arms[0].changes, found.arms[1].changes) == ({}, {"updates": "9"})
    assert found.scale_of(found.arm("b")) == 2
    assert found.claims[0].above == 0


def test_unknown_experiment_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no experiment 'edsr2017_los'; did you mean 'edsr2017_l"):
        experiments.load("edsr2017_los")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds = 2", "seeds = ", r"FILE: Invalid value \(at line 9, column 9\); fix the file"),
        ("seeds = 2\n", "", r"FILE, experiment: missing seeds, surplus nothing; fix the file"),
        ("seeds = 2", "seeds = 2\nseed = 1", r"FILE, experiment: missing nothing, surplus seed;"),
        ("seeds = 2", 'seeds = 2\nname = "x"', r"FILE, experiment: surplus name; fix the file"),
        ("seeds = 2", 'seeds = "2"', r"FILE, experiment: seeds = '2'; give an integer"),
        ("seeds = 2", "seeds = true", r"FILE, experiment: seeds = True; give an integer"),
        ("seeds = 2", "seeds = 0", r"FILE: seeds = 0; give at least 1"),
        ('title = "T"', "title = 3", r"FILE, experiment: title = 3; give a text"),
        ('["demo"]', '"demo"', r"FILE, experiment: data = 'demo'; give a list of texts"),
        ('["demo"]', '["demo", 1]', r"data = \['demo', 1\]; give a list of texts"),
        ('recipe = "sisrbench"', "", r"FILE, arm: missing recipe, surplus nothing"),
        ('name = "a"', 'name = "a"\nbatch = "1"', r"FILE, arm: missing nothing, surplus batch"),
        ('updates = "9"', "updates = 9", r"arm: changes = {'updates': 9}; give a table of texts"),
        ('name = "b"', 'name = "a"', r"FILE: two arms are called a; rename one"),
        ('name = "a"', 'name = "../a"', r"FILE: '../a' names files; take letters, digits"),
        ('name = "a"', 'name = "a"\nstart = "b"', r"arm a starts from 'b', no arm before it"),
        ('name = "a"', 'name = "a"\nscale = 3', r"a claim compares a, which is not trained at x2"),
        ('left = "a"', 'left = "aa"', r"no arm in FILE 'aa'; did you mean 'a'\?"),
        ("[[claim]]", "[claim]", r"FILE: no table \[\[claim\]\]; give one or more"),
        ('text = "a', 'above = "0"\ntext = "a', r"FILE, claim: above = '0'; give a number"),
        ('quantity = "psnr_y"', "", r"FILE, claim: missing quantity, surplus nothing"),
    ],
)
def test_what_is_no_experiment_is_refused(folder: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    assert re.search(said, refused(folder, GOOD.replace(old, new, 1)))


def test_an_experiment_without_arms_is_refused(folder: Path) -> None:
    assert refused(folder, GOOD[: GOOD.index("[[arm]]")]) == (
        "FILE: no table [[arm]]; give one or more"
    )


def test_a_file_that_is_no_text_is_refused(folder: Path) -> None:
    (folder / "trial.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(InputError, match=r"trial\.toml: .*can't decode byte 0xff.*; fix the file"):
        experiments.load("trial")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"srcnn2014"', '"srcnn2015"', "no protocol 'srcnn2015'; did you mean 'srcnn2014'"),
        ('["demo"]', '["dmo"]', "no dataset 'dmo'; did you mean 'demo'"),
        ('dataset = "demo"', 'dataset = "set6"', "no dataset 'set6'; did you mean 'set5'"),
        ('"srcnn-9-1-5"', '"srcnn-9-1-6"', "trial, arm a: no method 'srcnn-9-1-6'; did you mean"),
        ('"srcnn-9-1-5"', '"srcnn-9-1-5:n3=1"', "arm a: srcnn-9-1-5 has no setting 'n3'"),
        ('"srcnn-9-1-5"', '"srcnn-9-1-5@none"', "arm a: srcnn-9-1-5@none names weights or an en"),
        ('"srcnn-9-1-5"', '"srcnn-9-1-5+"', "arm a: srcnn-9-1-5\\+ names weights or an ensemble"),
        ('"sisrbench"', '"sisr"', "arm a: no recipe of srcnn-9-1-5 'sisr'; did you mean 'sisrb"),
        ('updates = "9"', 'update = "9"', "arm b: no choice of a recipe 'update'; did you mean"),
        ('updates = "9"', 'updates = "many"', "arm b: updates=many: give an integer"),
        ('updates = "9"', 'updates = "0"', "arm b: updates=0: give at least 1"),
        ('"sisrbench"\nchanges', '"eccv2014"\nstart = "a"\nchanges', "recipe eccv2014 takes no we"),
        ("scale = 2", "scale = 1", "arm a: scale 1 does not enlarge"),
        ('"psnr_y"', '"psnrr_y"', "no quantity 'psnrr_y'; did you mean 'psnr_y'"),
        ('"psnr_y"', '"psnr_rgb"', "claims psnr_rgb, but protocol srcnn2014 measures psnr_y;"),
        ('"psnr_y"', '"psnr"', "no quantity 'psnr'; did you mean 'psnr_"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_before_anything_is_trained(
    folder: Path, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    assert re.search(said, refused(folder, GOOD.replace(old, new, 1)))


PAIR = GOOD.replace('method = "srcnn-9-1-5"\nrecipe = "sisrbench"', "ARM", 1).replace(
    'method = "srcnn-9-1-5"\nrecipe = "sisrbench"', 'start = "a"\nOTHER', 1
)


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (
            'method = "vdsr"\nrecipe = "short"',
            'method = "srgan"\nrecipe = "cvpr2017-mse"',
            "starts from weights of vdsr x2, but recipe cvpr2017-mse takes weights of srresnet x2",
        ),
        (
            'method = "srresnet"\nrecipe = "short"\nscale = 4',
            'method = "srgan"\nrecipe = "cvpr2017-mse"',
            "a claim compares a, which is not trained at x2",
        ),
    ],
)
def test_a_start_that_the_recipe_does_not_take_is_refused(
    folder: Path, first: str, then: str, said: str
) -> None:
    assert said in refused(folder, PAIR.replace("ARM", first).replace("OTHER", then))


def test_a_start_of_another_scale_is_refused(folder: Path) -> None:
    text = PAIR.replace("ARM", 'method = "edsr-baseline"\nrecipe = "short"')
    text = text.replace("scale = 2", "scale = 4", 1)
    text = text.replace("OTHER", 'method = "edsr-baseline"\nrecipe = "short-from-x2"')
    assert "weights of edsr-baseline x4, but recipe short-from-x2 takes weights of" in refused(
        folder, text
    )


def test_a_recipe_that_has_to_start_from_weights_is_refused_without(folder: Path) -> None:
    text = PAIR.replace("ARM", 'method = "srresnet"\nrecipe = "short"')
    text = text.replace('start = "a"\nOTHER', 'method = "srgan"\nrecipe = "cvpr2017-mse"')
    assert "arm b: recipe cvpr2017-mse starts from weights of srresnet" in refused(folder, text)
