"""The contract that every method keeps, and the ways to add one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import zoo
from bench.result import remarks_on_average
from zoo.errors import InputError
from zoo.espcn import ESPCN
from zoo.method import Method
from zoo.srcnn import SRCNN, from_mat

ROOT = Path(__file__).parents[2]
PLUGIN = """
from torch import nn
from zoo.method import Method

NAMES = ("mine",)

def method(name):
    return Method(name=name, citation="me", takes="interpolated", channels="any",
                  build=lambda scale, settings: nn.Identity())
"""


def _built(name: str, scale: int) -> tuple[Method, nn.Module]:
    method, _ = zoo.load(name)
    return method, method.build(scale, method.settings).eval()


def _small(name: str) -> str:
    """The method in a size that runs at once; layers that repeat are fewer and narrower."""
    settings = zoo.load(name)[0].settings
    less = {"features": 8, "blocks": 2, "recursions": 2, "depth": 4, "atoms": 64}
    changes = ",".join(f"{key}={value}" for key, value in less.items() if key in settings)
    return f"{name}:{changes}" if changes else name


EVERY_SCALE = [
    (name, scale) for name in zoo.names() for scale in zoo.load(name)[0].scales or (2, 3, 4)
]


@pytest.mark.parametrize(("name", "scale"), EVERY_SCALE)
def test_any_size_gives_the_enlarged_size(name: str, scale: int) -> None:
    method, module = _built(_small(name), scale)
    channels = 3 if method.channels == "RGB" else 1
    factor = scale if method.takes == "LR" else 1
    least = 1 if method.smallest == 1 else method.smallest * (scale // factor)
    for height, width in ((least, least), (least, least + 6), (least + 4, least), (22, 27)):
        with torch.no_grad():
            out = module(torch.rand(2, channels, height, width))
        assert out.shape == (2, channels, factor * height, factor * width)
        assert out.dtype == torch.float32


@pytest.mark.parametrize(("name", "scale"), EVERY_SCALE)
def test_an_image_that_is_too_small_is_refused_in_one_line(name: str, scale: int) -> None:
    method, module = _built(_small(name), scale)
    if method.smallest == 1:
        return
    least = method.smallest * (1 if method.takes == "LR" else scale)
    for height, width in ((least - 1, least), (least, least - 1), (1, 1)):
        with pytest.raises(InputError, match=rf"at least {method.smallest}x{method.smallest} px"):
            module(torch.rand(2, 1, height, width))


@pytest.mark.parametrize("name", zoo.names())
def test_a_card_says_who_and_where_from(name: str) -> None:
    method, _ = zoo.load(name)
    assert method.name == name
    assert method.citation
    assert method.source.is_file()


@pytest.mark.parametrize("name", zoo.names())
def test_a_remark_on_weights_is_one_remark_of_a_note(name: str) -> None:
    for weights in zoo.load(name)[0].weights:
        note = f"average of 5 images; {weights.remark}"
        assert remarks_on_average(note) == [weights.remark]


def _replicated(x: torch.Tensor, layer: nn.Conv2d) -> torch.Tensor:
    margin = layer.kernel_size[0] // 2
    padded = functional.pad(x, (margin,) * 4, mode="replicate")
    return functional.conv2d(padded, layer.weight, layer.bias)


@pytest.mark.parametrize("filters", [(9, 1, 5), (9, 3, 5), (9, 5, 5)])
def test_srcnn_is_three_replicate_padded_convolutions(filters: tuple[int, int, int]) -> None:
    net = SRCNN(*filters, 8, 4)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.rand(1, 1, 14, 19)
    hidden = torch.relu(_replicated(torch.relu(_replicated(x, net.conv1)), net.conv2))
    torch.testing.assert_close(net(x), _replicated(hidden, net.conv3))


def test_espcn_is_tanh_tanh_and_a_shuffle_of_subpixels() -> None:
    net = ESPCN(3, 8, 4)
    x = torch.rand(1, 1, 6, 5)
    hidden = torch.tanh(functional.conv2d(x, net.conv1.weight, net.conv1.bias, padding=2))
    hidden = torch.tanh(functional.conv2d(hidden, net.conv2.weight, net.conv2.bias, padding=1))
    planes = functional.conv2d(hidden, net.conv3.weight, net.conv3.bias, padding=1)
    expected = torch.empty(1, 1, 18, 15)
    for row in range(3):
        for column in range(3):
            expected[0, 0, row::3, column::3] = planes[0, 3 * row + column]
    torch.testing.assert_close(net(x), expected)


def test_srcnn_filters_are_read_column_by_column() -> None:
    first = torch.zeros(81, 2)
    first[1, 0] = 1.0  # second entry of a column: row 1, column 0
    first[9, 1] = 1.0  # first entry of the second column: row 0, column 1
    state = from_mat(
        {
            "weights_conv1": first,
            "weights_conv2": torch.zeros(2, 1, 3),
            "weights_conv3": torch.zeros(3, 25),
            "biases_conv1": torch.zeros(2, 1),
            "biases_conv2": torch.zeros(3, 1),
            "biases_conv3": torch.zeros(1, 1),
        }
    )
    assert state["conv1.weight"][0, 0, 1, 0] == 1.0
    assert state["conv1.weight"][1, 0, 0, 1] == 1.0


def test_a_setting_changes_the_width_and_the_name() -> None:
    method, weights = zoo.load("srcnn-9-1-5:n1=32,n2=16@none")
    module = method.build(2, method.settings)
    assert (method.name, weights) == ("srcnn-9-1-5:n1=32,n2=16", "none")
    assert next(module.parameters()).shape == (32, 1, 9, 9)
    assert not method.weights


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("srcnn-9-1-6", "did you mean 'srcnn-9-1-5'"),
        ("srcnn-9-1-5:n3=1", "no setting 'n3'; it has: n1, n2"),
        ("srcnn-9-1-5:n1=-4", "integer of at least 1"),
        ("srcnn-9-1-5:n1", "KEY=VALUE"),
        ("bicubic:n1=2", "it has: none"),
        ("./nowhere.py", "no method file './nowhere.py'"),
    ],
)
def test_a_name_that_means_nothing_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        zoo.load(spec)


def test_a_file_of_ones_own_is_a_method(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    method, weights = zoo.load(f"{path}@none")
    assert (method.name, method.source, weights) == ("mine", path, "none")


SEVERAL = PLUGIN.replace('NAMES = ("mine",)', 'NAMES = ("wide", "deep", "deep+")').replace(
    "nn.Identity())", 'nn.Identity(), settings={"n1": 8})'
)


@pytest.mark.parametrize(
    ("rest", "name", "weights", "ensemble"),
    [
        (":wide", "wide", "", False),
        (":deep", "deep", "", False),
        (":deep@none", "deep", "none", False),
        (":deep:n1=4@x:y", "deep:n1=4", "x:y", False),
        (":wide+", "wide+", "", True),
        (":wide+:n1=4", "wide+:n1=4", "", True),
        (":deep+", "deep+", "", False),  # a name of its own
        (":deep++", "deep++", "", True),
    ],
)
def test_every_method_of_a_file_can_be_chosen(
    tmp_path: Path, rest: str, name: str, weights: str, ensemble: bool
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SEVERAL)
    spec = f"{path}{rest}"
    zoo.require(spec)
    method, tag = zoo.load(spec)
    assert (method.name, tag, method.source) == (name, weights, path)
    assert (method.wrap is not None) == ensemble


def test_a_file_of_several_methods_asks_for_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(SEVERAL)
    for call in (zoo.require, zoo.load):
        for rest in ("", "+", "@none", ":n1=4"):
            with pytest.raises(InputError, match=r"several methods: wide, deep, deep\+; .*py:wide"):
                call(f"{path}{rest}")
        with pytest.raises(InputError, match=r"mine.py has no method 'n1'; its NAMES are wide, d"):
            call(f"{path}:n1")
    path.write_text(SEVERAL.replace('"deep+"', '"mine"'))
    assert zoo.load(str(path))[0].name == "mine"  # the file's own name needs no choice
    assert zoo.load(f"{path}:deep")[0].name == "deep"
    path.write_text(PLUGIN)
    assert zoo.load(f"{path}:mine")[0].name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def method(", "does not import: SyntaxError"),
        ("1 / 0", "does not import: ZeroDivisionError"),
        ("x = 1", "no function method"),
        ("NAMES = ('a',)\ndef method(name): return 3", "gave a int; expected a zoo.method.Method"),
    ],
)
def test_a_broken_file_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        zoo.load(str(path))


def test_a_broken_file_in_the_folder_breaks_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.py").write_text("NAMES = ('fine',)")
    (tmp_path / "broken.py").write_text("def method(")
    (tmp_path / "helper.py").write_text("x = 1")
    monkeypatch.setattr(zoo, "__file__", str(tmp_path / "__init__.py"))
    assert zoo.names() == ["broken", "fine"]


def test_an_installed_module_adds_a_method_by_entry_point(tmp_path: Path) -> None:
    (tmp_path / "their_method.py").write_text(PLUGIN)
    info = tmp_path / "their-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[sisrbench.methods]\nmine = their_method\n")
    code = "import zoo; assert 'mine' in zoo.names(); print(zoo.load('mine')[0].citation)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "me"
