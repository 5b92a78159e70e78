"""Cards: TOML files, short forms and keyword arguments mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sisrbench
from bench import sources
from bench.sources import kinds, words
from bench.sources.card import Card, read
from zoo.errors import InputError

COMMIT = "0123456789" * 4


def of(spec: str) -> Card:
    found = words.chosen(spec)
    assert found is not None
    return found.card


@pytest.mark.parametrize(
    ("spec", "kind", "source", "weights", "arguments"),
    [
        ("net.py:Net", "class", "net.py:Net", "", {}),
        ("a/net.py:Net:n=64,up={scale}@w@2/x{scale}.pth", "class", "a/net.py:Net",
         "w@2/x{scale}.pth", {"n": 64, "up": "{scale}"}),
        ("class:torch.nn:Identity", "class", "torch.nn:Identity", "", {}),
        ("cmd:tool -i {lr} -o {sr}", "command", "tool -i {lr} -o {sr}", "", {}),
    ],
)  # fmt: skip
def test_short_forms(
    spec: str, kind: str, source: str, weights: str, arguments: dict[str, Any]
) -> None:
    card = of(spec)
    assert (card.kind, card.source, card.weights, card.arguments) == (
        kind, source, weights, arguments,
    )  # fmt: skip


def test_a_plus_after_a_class_is_its_self_ensemble() -> None:
    found = words.chosen("net.py:Net+:n=64")
    assert found is not None
    assert found.ensemble
    assert found.card.arguments == {"n": 64}


@pytest.mark.parametrize("spec", ["espcn", "espcn+", "srcnn-9-1-5:n1=32@none", "espcn@x2.pth"])
def test_methods_of_this_project_are_no_cards(spec: str) -> None:
    assert words.chosen(spec) is None


def test_a_file_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a:b.onnx"
    path.touch()
    assert of(f"{path}:range=255").range == 255


def test_a_method_in_a_file_is_no_class(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text('NAMES = ("deep",)\n')
    assert words.chosen(f"{path}:deep") is None
    assert of(f"{path}:Net").kind == "class"


def test_a_file_and_python_give_the_same_card(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "Ours (large)"\nclass = "net.py:Net"\nweights = "x{scale}.pth"\nrange = 255\n'
        'multiple = 8\nscales = [2, 4]\narguments = { up = "{scale}" }\nlicence = "MIT"\n'
    )
    given = sisrbench.card(
        name="Ours (large)",
        class_="net.py:Net",
        weights="x{scale}.pth",
        range=255,
        multiple=8,
        scales=(2, 4),
        arguments={"up": "{scale}"},
        licence="MIT",
    )
    found = read(path)
    assert found.folder == tmp_path
    assert {**vars(found), "folder": None} == {**vars(given), "folder": None}
    assert of(f"{path}:range=1").range == 1


NAMED = 'name = "Ours"\n'
NET = f'{NAMED}class = "net.py:Net"\n'
BAD = {
    "": "a card names one source, and it has none",
    'onnx = "x.onnx"': 'the field name is missing; give name = "Ours"',
    f'{NET}onnx = "x.onnx"': "names one source, and it has class, onnx",
    f'{NAMED}onx = "x.onnx"': "no field 'onx'; did you mean 'onnx'",
    f"{NET}range = 2": "range is 2; choose from: 1, 255",
    f'{NET}range = "255"': "range is '255'; give an integer",
    f"{NET}range = true": "range is True; give an integer",
    f"{NET}scales = [2, 2.5]": "scales is (2, 2.5); give a list of integers",
    f"{NET}scales = [1]": "scales are [1]; give 2 or more",
    f"{NET}scales = 2": "scales is 2; give a list of integers",
    f"{NET}multiple = 0": "multiple is 0; give 1 or more pixels",
    f"{NET}timeout = 0": "timeout is 0; give seconds above 0",
    f'{NET}channels = "rgb"': "channels is 'rgb'; choose from: luma, RGB, any",
    f'{NET}takes = "HR"': "takes is 'HR'; choose from: LR, interpolated",
    f'{NET}luma = "8-bit"': "luma is '8-bit'; choose from: studio, full",
    f'{NET}layout = "HWC"': "layout is 'HWC'; choose from: NCHW, NHWC",
    f"{NET}arguments = {{ since = 2020-01-01 }}": "give texts, numbers, truth values, and lists",
    f"{NET}arguments = 3": "arguments is 3; give a table",
    f'{NAMED}onnx = "x.onnx"\nweights = "x.pth"': "weights belongs to a class; leave it out",
    f'{NET}code = "github:a/b@main"': "give github:OWNER/REPO@COMMIT with all 40 digits",
    f'{NET}code = "github:a/b@{COMMIT}"': "code and files belong together",
    'name = ""\nclass = "net.py:Net"': "name is empty; give a text",
    'name = "a\\u001b[2J"\nclass = "net.py:Net"': "the name is no plain text",
    "name = [": "is no TOML: ",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_card_is_refused_with_the_field(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        sources.require(str(path))
    message = str(caught.value)
    assert BAD[text] in message
    assert "\n" not in message
    assert message.startswith(str(path))


def test_code_of_a_repository_does_not_run_untrusted() -> None:
    card = sisrbench.card(
        name="Ours", class_="net.py:Net", code=f"github:a/b@{COMMIT}", files={"net.py": "0" * 64}
    )
    with pytest.raises(InputError, match=f"would run code from github:a/b@{COMMIT}: net.py; read"):
        sources.refuse_untrusted(card, trusted=False)
    sources.refuse_untrusted(card, trusted=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("x.h5", "x.h5 does not exist; a method is a name, a folder of SR images, or a file"),
        ("bicubik", "no method 'bicubik'; did you mean 'bicubic'"),
        ("nowhere/out", "nowhere/out does not exist; a method is a name"),
        ("nowhere.py:Net", "no file 'nowhere.py'"),
        ("typo@x2.pth", "no method 'typo'"),
        ("nowhere.toml", "no card nowhere.toml: No such file"),
        ("cmd:", "the command is empty"),
        ("cmd:tool 'x", "close the quotes"),
    ],
)
def test_what_cannot_stand_for_a_method(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        sources.require(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [{"range": 255}, {"takes": "interpolated"}, {"channels": "luma"}, {"luma": "full"},
     {"multiple": 8}, {"layout": "NHWC"}],
)  # fmt: skip
def test_a_number_is_known_by_the_fields_that_change_it(changed: dict[str, Any]) -> None:
    card = sisrbench.card(name="Ours", onnx="x.onnx")
    other = sisrbench.card(name="Ours", onnx="x.onnx", **changed)
    assert card.method().card == card.identity != other.identity == other.method().card
    renamed = sisrbench.card(name="Theirs", onnx="elsewhere/x.onnx", licence="MIT")
    assert renamed.identity == card.identity


def test_a_command_is_known_by_its_words() -> None:
    one, other = (sisrbench.card(name="Ours", command=f"tool {{lr}} {{sr}} -q {q}") for q in "12")
    assert one.identity != other.identity


def test_every_source_states_what_the_listing_shows() -> None:
    for source in kinds.known():
        assert source.example
        assert bool(source.extra) == bool(source.modules)
        assert all(suffix.startswith(".") for suffix in source.suffixes)


@pytest.mark.parametrize("name", ["x.onnx", "x.pt2", "x.ts", "x{scale}.pth"])
def test_a_folder_with_the_ending_of_a_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name.replace("{scale}", "2")).mkdir()
    with pytest.raises(InputError, match="is a folder; give the path of a file"):
        sources.require(str(tmp_path / name))


def test_a_name_that_is_refused_shows_how_to_give_another(tmp_path: Path) -> None:
    path = tmp_path / "a@b.ts"
    path.touch()
    with pytest.raises(InputError, match=":name=Ours after a file"):
        sources.require(str(path))
    sources.require(f"{path}:name=Ours")
