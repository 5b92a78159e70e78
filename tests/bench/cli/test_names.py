"""Names that a spreadsheet, a terminal or a file could take for more than text."""

from __future__ import annotations

import ast
import csv
import io
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import zoo
from bench import result
from bench.claims import regression
from bench.cli import main as cli
from bench.files import weights
from bench.progress import Progress, TrainingProgress
from bench.result import Result
from bench.store import FILE, as_results
from zoo.errors import plain, spelled

ROOT = Path(__file__).parents[3]
KNOWN = regression.quantities()
FORMULAS = (
    "=HYPERLINK(\"http://x\",\"y\")", "+cmd|' /C calc'!A0", "@SUM(1)", "-1", "-2+3", "\t=1", "\r=1",
    "\n=1", " =1", "\u00a0=1", "\x00=1", "\ufeff=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201",
    "a;=1", "a;\"=1", "a\t=1", "a\n=1", "a\r\n-1", "\"=1", "'=1", "''=1", "' '=1", "=", "\tx",
    "a; -0.12 dB",
)  # fmt: skip
STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
HARMLESS = (
    "",
    "a",
    "'",
    "''",
    "'a",
    "a=b",
    "a-1",
    "x@y",
    "1+1",
    " a",
    "a; b",
    "a, -1",
    "é",
    "\u202ea",
)
ALPHABET = "=+-@'\"; ,\t\r\n\x00\u00a0\uff1da1"


def photo(path: Path, size: tuple[int, int] = (40, 32)) -> None:
    """A small smooth picture."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((127 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7)).astype(np.uint8)).save(
        path
    )


def written(*names: str) -> list[Result]:
    return [
        Result(method=name or "m", weights=name, scale=2, dataset="d", image=f"{name} {number}"
               if number % 2 else name, protocol="p", quantity="parameters", value=-1.0,
               note=name, spread=0.5)
        for number, name in enumerate(names)
    ]  # fmt: skip


def random_names() -> Iterator[str]:
    draw = random.Random(10)
    for _ in range(1500):
        yield "".join(draw.choice(ALPHABET) for _ in range(draw.randint(1, 7)))


def test_every_name_comes_back_from_the_table_as_it_was(tmp_path: Path) -> None:
    names = [*FORMULAS, *HARMLESS, *random_names()]
    results = list({result.cell(row): row for row in written(*names)}.values())
    path = tmp_path / "results.csv"
    path.write_bytes(result.to_csv(results).encode())
    assert result.from_csv(path, KNOWN) == results
    read = pd.read_csv(io.StringIO(result.to_csv(written("-1", "=1", "a"))), keep_default_na=False)
    assert as_results(read) == written("-1", "=1", "a")


@pytest.mark.parametrize(
    ("delimiter", "quotes"),
    [(",", True), (";", True), (";", False), ("\t", True), ("\t", False)],
)
def test_no_cell_of_the_table_is_a_formula(delimiter: str, quotes: bool) -> None:
    for name in (*FORMULAS, *random_names()):
        text = result.to_csv(written(name))
        if delimiter != ",":  # such a spreadsheet ends a line wherever one ends
            text = text.replace("\r", "\n")
        lines = csv.reader(
            io.StringIO(text),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        )
        for found in (cell for row in lines for cell in row):
            bare = found.strip(" \t\r\n\x00\u00a0\ufeff")
            # The value itself is a number, and stays one.
            assert bare == "-1.0" or not bare.startswith(STARTS), (name, found)


def test_harmless_names_and_numbers_stay_as_they_are() -> None:
    for name in HARMLESS:
        (row,) = csv.DictReader(io.StringIO(result.to_csv(written(name))))
        assert (row["weights"], row["value"]) == (name, "-1.0")


def test_a_table_of_an_earlier_version_reads_as_it_is_written(tmp_path: Path) -> None:
    text = result.to_csv(written("x1", "'x")).replace("x1", "=1")
    (tmp_path / "old.csv").write_text(text)
    assert [row.weights for row in result.from_csv(tmp_path / "old.csv", KNOWN)] == ["=1", "'x"]


ESCAPE = "\x1b[31m\x1b]0;title\x07\u202e\u2066\x9b1m\r\n\x08\u2028"
SAID = r"\x1b[31m\x1b]0;title\x07\u202e\u2066\x9b1m\r\n\x08\u2028"


def test_plain_text_shows_what_a_terminal_would_obey() -> None:
    assert plain(f"a {ESCAPE} é 图") == f"a {SAID} é 图"
    assert plain("\udcff \ud800") == r"\xff \ud800"
    assert spelled("a\udcff\x1b\ud800") == "a\\xff\x1b\\ud800"


def is_plain(text: str) -> bool:
    return all(letter.isprintable() or letter == "\n" for letter in text)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of a hostile name with two images of hostile names."""
    folder = tmp_path / f"=f{ESCAPE.replace('/', '')}"
    photo(folder / f"=i{ESCAPE}.png")
    photo(folder / "-1.png", (36, 40))
    (folder / f"note{ESCAPE}.txt").touch()
    return folder


@pytest.fixture
def own_weights(tmp_path: Path) -> Path:
    """ESPCN x2, fresh, in a file of a hostile name."""
    method, _ = zoo.load("espcn")
    path = tmp_path / f"@w{ESCAPE}.safetensors"
    save_file(dict(weights.fresh(method, 2).state_dict()), path)
    return path


def test_no_command_prints_a_control_character(
    pictures: Path, own_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, out = f"espcn@{own_weights}", str(tmp_path / f"out{ESCAPE}")
    image = str(next(pictures.glob("=i*.png")))
    baseline = tmp_path / f"base{ESCAPE}.csv"
    commands: list[tuple[int, list[str]]] = [
        (0, ["run", "-m", "bicubic", "-m", spec, "-d", str(pictures), "-s", "2", "--repeat", "1",
             "--out", out]),
        (0, ["report", "--out", out]),
        (0, ["report", "srcnn2014_set5", "--out", out]),
        (1, ["check", str(baseline), "--out", out]),
        (0, ["upscale", spec, image, "--out", str(tmp_path / "up")]),
        (0, ["cost", "espcn", "-s", "2", "--no-time", "--out", out]),
        (2, ["upscale", spec, f"no{ESCAPE}.png"]),
        (2, ["run", "-m", f"m{ESCAPE}"]),
        (2, ["run", "-m", f"espcn@{ESCAPE}", "-d", str(pictures), "-s", "2"]),
        (2, ["run", "-d", f"./{ESCAPE}"]),
        (2, ["run", f"--{ESCAPE}"]),
        (2, ["run", "--memory", ESCAPE]),
        (2, [ESCAPE]),
        (2, ["check", f"{ESCAPE}.csv"]),
        (2, ["report", "--out", ESCAPE]),
        (2, ["fetch", ESCAPE]),
        (2, ["list", ESCAPE]),
    ]  # fmt: skip
    for status, arguments in commands:
        if arguments[0] == "check" and status == 1:
            rows = result.from_csv(Path(out) / "results.csv", KNOWN)
            assert {row.image for row in rows if row.image} == {f"=i{ESCAPE}", "-1"}
            others = [replace(row, method=f"x{ESCAPE}") for row in rows if row.method == "bicubic"]
            baseline.write_bytes(result.to_csv([*rows, *others]).encode())
        assert cli.status(arguments) == status, arguments
        told = capsys.readouterr()
        assert is_plain(told.out), arguments
        assert is_plain(told.err), arguments
        if status == 2:
            assert told.err.count("\n") == 1


def test_progress_prints_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say(ESCAPE)
    with progress.work(1, 1), progress.piece(f"[b]{ESCAPE}:smile:") as lines:
        lines.append(ESCAPE)
    training = TrainingProgress()
    training.say(ESCAPE)
    training.show(ESCAPE, 1, 1, ESCAPE)
    told = capsys.readouterr().err
    assert is_plain(told)
    assert told.count(SAID) == 6
    assert f"[b]{SAID}:smile:" in told


def test_a_card_prints_no_control_character(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('mine',)\n\n\n"
        "def method(name):\n"
        f"    return Method(name=name, citation={ESCAPE!r}, takes='interpolated', channels='any',\n"
        "                  build=lambda scale, settings: nn.Identity())\n"
    )
    assert cli.status(["show", str(tmp_path / "mine.py")]) == 0
    told = capsys.readouterr()
    assert is_plain(told.out + told.err)
    assert SAID in told.out


def test_only_one_function_of_the_command_prints() -> None:
    """Whatever is printed elsewhere would pass names on as they are."""
    found = []
    for path in sorted((ROOT / "bench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("click.echo", "click.secho", "print", "Console", "error.show"):
                    found.append((path.relative_to(ROOT / "bench").as_posix(), called))
    assert found == [
        ("cli/main.py", "error.show"),  # the help
        ("cli/terminal.py", "click.echo"),
        ("progress.py", "print"),  # warnings, made plain
    ]


def no_utf8(name: str) -> str:
    """A file name with a byte that is no UTF-8."""
    return os.fsdecode(name.encode() + b"\xff")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose file system takes names that are no UTF-8."""
    try:
        (tmp_path / no_utf8("try")).touch()
    except OSError:  # macOS
        pytest.skip("the file system takes UTF-8 only")
    return tmp_path


def test_images_and_folders_that_are_no_utf8_are_measured(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(odd / "plain.png")
    folder, out = odd / no_utf8("f"), odd / no_utf8("o")
    folder.mkdir()
    for name in (no_utf8("i"), "other"):
        shutil.copy(odd / "plain.png", folder / f"{name}.png")
    arguments = ["run", "-m", "bicubic", "-d", str(folder), "-s", "2", "--repeat", "1"]
    assert cli.status([*arguments, "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert r"o\xff/index.html" in told.out
    assert is_plain(told.out + told.err)
    rows = result.from_csv(out / "results.csv", KNOWN)
    assert {row.image for row in rows if row.dataset == r"f\xff"} == {"", r"i\xff", "other"}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert r"i\xff" in page
    with closing(sqlite3.connect(out / FILE)) as database:
        ((command,),) = database.execute("SELECT command FROM runs").fetchall()
    assert r"f\xff" in command
    assert cli.status([*arguments, "--out", str(out)]) == 0
    assert "Nothing to compute" in capsys.readouterr().err


def test_weights_and_methods_that_are_no_utf8_are_measured_or_named(
    odd: Path, own_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(odd / "photos" / "p.png")
    on = ["-d", str(odd / "photos"), "-s", "2", "--repeat", "1", "--out", str(odd / "out")]
    there, absent, broken = (odd / no_utf8(name) for name in ("w", "absent", "broken"))
    torch.save(load_file(own_weights), f"{there}.pth")
    shutil.copy(own_weights, f"{there}.safetensors")
    broken.write_bytes(b"nothing")
    assert cli.status(["run", "-m", f"espcn@{there}.pth", *on]) == 0
    assert r"espcn@w\xff.pth" in capsys.readouterr().out
    for path in (absent, broken, f"{there}.safetensors"):
        assert cli.status(["run", "-m", f"espcn@{path}", *on]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("Error: ")
        assert any(str(path).replace("\udcff", escape) in told for escape in (r"\xff", r"\udcff"))
    method = odd / no_utf8("m")
    text = (ROOT / "zoo" / "espcn.py").read_text(encoding="utf-8")
    Path(f"{method}.py").write_text(text.replace('NAMES = ("espcn",)', 'NAMES = ("mine",)'))
    assert cli.status(["cost", f"{method}.py", "-s", "2", "--no-time", *on[-2:]]) == 0


@pytest.mark.parametrize("command", ["run", "upscale"])
def test_a_broken_image_that_is_no_utf8_is_named(
    command: str, odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = odd / "photos"
    folder.mkdir()
    broken = folder / f"{no_utf8('broken')}.png"
    broken.write_bytes(b"nothing")
    arguments = (
        ["run", "-m", "bicubic", "-d", str(folder), "-s", "2"]
        if command == "run"
        else ["upscale", "bicubic", str(broken)]
    )
    assert cli.status([*arguments, "--out", str(odd / "out")]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("Error: ")
    assert r"broken\xff.png" in told


def test_training_from_images_that_are_no_utf8_writes_its_weights(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(odd / "p.png", (96, 96))
    data = odd / no_utf8("data")
    data.mkdir()
    shutil.copy(odd / "p.png", data / f"{no_utf8('i')}.png")
    arguments = ["train", "espcn", "-s", "2", "--data", str(data), "--updates", "2",
                 "--validate", "none"]  # fmt: skip
    for _ in range(2):
        assert cli.status([*arguments, "--out", str(odd / "out")]) == 0
    assert "these weights are learned already" in capsys.readouterr().err
    (found,) = (odd / "out").glob("*.safetensors")
    on = ["-d", str(data), "-s", "2", "--repeat", "1", "--out", str(odd / "measured")]
    assert cli.status(["run", "-m", f"espcn@{found}", *on]) == 0
    assert r"data\xff" in (odd / "measured" / "index.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert cli.status([*arguments, "--out", str(odd / no_utf8("out"))]) == 2
    told = capsys.readouterr().err
    assert r"out\xff: safetensors opens only paths that are UTF-8" in told
    assert "training: 2 of 2" not in told  # refused before hours of work
