"""Recipes as data: choices changed by text are of their kind, or refused in a line."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest

from zoo.errors import InputError
from zoo.recipe import ADVERSARY, Descent

PLAIN = Descent(patch=33, rate=1e-4, batch=128, updates=1000, silent={"batch": "a guess"})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("patch", "48", 48),
        ("updates", "1000000", 1_000_000),
        ("rate", "2e-4", 2e-4),
        ("rate", "1", 1.0),
        ("weight_decay", "0", 0.0),
        ("skip", "3", 3.0),
        ("draw", "places", "places"),
        ("augment", "flips and turns", "flips and turns"),
        ("initialise", "as built", "as built"),
        ("optimizer", "sgd", "sgd"),
        ("mixing", "updates", "updates"),
        ("degradation", "blur 1.6 + opencv:area", "blur 1.6 + opencv:area"),
        ("loss", "l1 + 0.001 adversarial", "l1 + 0.001 adversarial"),
        ("clip", "", ""),
        ("scales", "2,3,4", (2, 3, 4)),
        ("scales", "4", (4,)),
        ("scales", "", ()),
    ],
)
def test_a_choice_is_changed_to_a_value_of_its_kind(key: str, text: str, value: Any) -> None:
    changed = PLAIN.changed({key: text})
    assert getattr(changed, key) == value
    assert type(getattr(changed, key)) is type(value)
    assert changed == replace(PLAIN, **{key: value})


def test_several_are_changed_at_once_and_none_are() -> None:
    changed = PLAIN.changed({"patch": "17", "loss": "l1"})
    assert (changed.patch, changed.loss, changed.batch) == (17, "l1", 128)
    assert PLAIN.changed({}) == PLAIN
    assert (PLAIN.patch, PLAIN.loss) == (33, "l2")
    assert changed.silent == {"batch": "a guess"}


def test_rates_are_changed_by_their_pattern() -> None:
    one = replace(PLAIN, rates={"*.bias": 0.1, "conv3.*": 0.1})
    changed = one.changed({"rates.*.bias": "1", "rates.conv1.weight": "2e-1"})
    assert changed.rates == {"*.bias": 1.0, "conv3.*": 0.1, "conv1.weight": 0.2}
    assert list(changed.rates)[-1] == "conv1.weight"  # the last that fits decides
    assert one.rates == {"*.bias": 0.1, "conv3.*": 0.1}


def test_an_adversary_is_changed_in_each_of_its_choices_whatever_it_had() -> None:
    texts = {"loss": "linear", "dropout": "0.5", "place": "dense", "rate": "1"}
    values = {"loss": "linear", "dropout": 0.5, "place": "dense", "rate": 1.0}
    assert ADVERSARY.keys() == values.keys()
    for had in ({}, {"dropout": 0, "rate": 0, "loss": "log"}):
        one = replace(PLAIN, adversary=had)
        changed = one.changed({f"adversary.{key}": text for key, text in texts.items()})
        assert changed.adversary == values
        assert all(type(changed.adversary[key]) is ADVERSARY[key] for key in values)


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("ptch", "3", "no choice of a recipe 'ptch'; did you mean 'patch' or 'batch'?"),
        ("", "3", "no choice of a recipe ''"),
        ("Rate", "3", "no choice of a recipe 'Rate'; did you mean 'rate'"),
        ("silent", "x", "no choice of a recipe 'silent'"),
        ("silent.batch", "x", "no choice of a recipe 'silent.batch'"),
        ("patch.x", "3", "no choice of a recipe 'patch.x'; did you mean 'patch'"),
        ("settings", "3", "no choice of a recipe 'settings'"),
        ("patch", "3.5", "patch=3.5: give an integer"),
        ("patch", "", "patch=: give an integer"),
        ("updates", "1e6", "updates=1e6: give an integer"),
        ("rate", "fast", "rate=fast: give a number"),
        ("rate", "", "rate=: give a number"),
        ("scales", "2;3", "scales=2;3: give integers, a comma between them"),
        ("scales", "2,x", "scales=2,x: give integers, a comma between them"),
        ("optimizer", "Adam", "optimizer=Adam: choose from: adam, sgd"),
        ("draw", "", "draw=: choose from: images, places"),
        ("rates", "0.1", "rates=0.1: give rates.NAME=VALUE"),
        ("rates.", "0.1", "rates.=0.1: give rates.NAME=VALUE"),
        ("rates.*.bias", "slow", "rates.*.bias=slow: give a number"),
        ("adversary", "log", "adversary=log: give adversary.NAME=VALUE"),
        ("adversary.droput", "0.5", "no choice of an adversary 'droput'; did you mean 'dropout'?"),
        ("adversary.dropout", "half", "adversary.dropout=half: give a number"),
    ],
)
def test_what_is_no_choice_or_no_value_is_refused_in_a_line(key: str, text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        PLAIN.changed({key: text})
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_a_number_may_be_none_of_the_finite_ones_until_it_is_checked() -> None:
    assert math.isnan(PLAIN.changed({"rate": "nan"}).rate)
    assert PLAIN.changed({"skip": "inf"}).skip == math.inf


def test_a_recipe_with_an_unknown_key_is_no_recipe() -> None:
    with pytest.raises(TypeError, match="momentun"):
        Descent(patch=1, rate=1.0, batch=1, updates=1, momentun=0.9)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="updates"):
        Descent(patch=1, rate=1.0, batch=1)  # type: ignore[call-arg]


def test_settings_are_every_choice_without_the_reasons() -> None:
    settings = PLAIN.settings()
    assert settings.keys() == {entry.name for entry in fields(Descent)} - {"silent"}
    assert Descent(**settings) == replace(PLAIN, silent={})
    changed = PLAIN.changed({"rates.*": "0.5", "scales": "2,3"}).settings()
    assert json.loads(json.dumps(changed))["rates"] == {"*": 0.5}
