"""LR from files: found in the layouts of DIV2K, measured apart from LR that a protocol makes."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import sisrbench
import zoo
from bench import datasets, images
from bench import protocol as protocols
from bench.cli import main as cli
from bench.datasets import lr as lr_files
from bench.evaluate import hr_and_lr
from bench.files import fetch
from bench.hints.output import hint
from bench.plan import AccuracyRequest, accuracy_units
from bench.progress import Progress

Run = Callable[..., int]
SIZE = 33, 42
QUIET = Progress(quiet=True)


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    """Two photographs, of 33x42 pixels, which are no multiples of 4."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    for number, name in enumerate(("0801", "0802")):
        planes = [120 + 60 * np.sin(rows / 4 + number) + 50 * np.cos(columns / (5 + plane))
                  for plane in range(3)]  # fmt: skip
        save(tmp_path / "hr" / f"{name}.png", np.stack(planes, -1).astype(np.uint8))
    return tmp_path / "hr"


@pytest.fixture
def lr(hr: Path, tmp_path: Path) -> Path:
    """The LR files of rcan2018: `lr/x2/0801x2.png`, ..., `lr/x4/0802x4.png`."""
    out = tmp_path / "lr"
    arguments = ["lr", "-d", str(hr), "-s", "2", "-s", "4", "--protocol", "rcan2018"]
    assert cli.status([*arguments, "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(hr: Path, tmp_path: Path) -> Run:
    def measured(*more: object, protocol: str = "rcan2018") -> int:
        own = ["-d", hr, "--protocol", protocol, "--metric", "psnr", "--out", tmp_path / "out"]
        return cli.status(["run", *map(str, (*own, *more))])

    return measured


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["dataset"]]


def values(out: Path) -> dict[tuple[str, str, str], str]:
    """Values by method, scale and image."""
    return {(row["method"], row["scale"], row["image"]): row["value"] for row in rows(out)}


BOTH = ("-m", "bicubic", "-m", "espcn", "-s", 2, "-s", 4)


@pytest.mark.parametrize(
    ("layout", "given", "label"),
    [
        ("lr/x{}", "lr", "lr"),
        ("lr/X{}", "lr", "lr"),
        ("Flickr2K/Flickr2K_LR_bicubic/X{}", "Flickr2K", "Flickr2K"),
        ("Set/LR_bicubic/X{}", "Set", "Set"),
        ("Set/LR_bicubic/X{}", "Set/LR_bicubic", "LR_bicubic"),
        ("lr_x{}", "lr_x{scale}", "lr"),
        ("all/x{}/files", "all/x{scale}/files", "files"),
        ("flat", "flat", "flat"),
        ("benchmark", "./benchmark", "benchmark (folder)"),
    ],
)
def test_the_protocols_own_lr_from_files_gives_its_digits_under_a_name_of_its_own(
    layout: str,
    given: str,
    label: str,
    lr: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(*BOTH) == 0
    own = values(tmp_path / "out")
    shutil.move(lr, tmp_path / "made")
    for scale in (2, 4):
        folder = tmp_path / layout.format(scale)
        shutil.copytree(tmp_path / f"made/x{scale}", folder, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert run(*BOTH, "--lr", given) == 0
    assert values(tmp_path / "out") == own
    assert {row["dataset"] for row in rows(tmp_path / "out")} == {f"hr lr={label}"}


@pytest.mark.parametrize(
    ("hr_form", "lr_form"),
    [("{}", "{}x2"), ("{}_SRF_2_HR", "{}_SRF_2_LR"), ("{}_HR", "{}_LR"), ("{}", "{}_LR")],
)
def test_lr_files_may_lie_beside_the_hr_files(
    hr_form: str, lr_form: str, hr: Path, lr: Path, run: Run, tmp_path: Path
) -> None:
    assert run("-m", "bicubic", "-s", 2) == 0
    own = [row["value"] for row in rows(tmp_path / "out")]
    for name in ("0801", "0802"):
        (hr / f"{name}.png").rename(hr / f"{hr_form.format(name)}.png")
        shutil.copy(lr / f"x2/{name}x2.png", hr / f"{lr_form.format(name)}.png")
    assert run("-m", "bicubic", "-s", 2, "--lr", hr) == 0
    assert [row["value"] for row in rows(tmp_path / "out")] == own
    assert not any("left over" in row["note"] for row in rows(tmp_path / "out"))


def test_other_lr_gives_other_digits_and_an_edited_file_is_measured_again(
    lr: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ("-m", "bicubic", "-s", 4, "--lr", lr)
    assert run(*chosen) == 0
    before = values(tmp_path / "out")
    path = lr / "x4/0801x4.png"
    save(path, np.roll(np.asarray(Image.open(path)), 1, axis=1))
    capsys.readouterr()
    assert run(*chosen) == 0
    assert "LR of 0801" in capsys.readouterr().err
    after = values(tmp_path / "out")
    assert float(after["bicubic", "4", "0801"]) < float(before["bicubic", "4", "0801"]) - 1
    assert after["bicubic", "4", "0802"] == before["bicubic", "4", "0802"]
    assert run(*chosen) == 0
    assert "Nothing to compute" in capsys.readouterr().err


def _missing(lr: Path) -> None:
    (lr / "x4/0802x4.png").unlink()


def _doubled(lr: Path) -> None:
    shutil.copy(lr / "x4/0802x4.png", lr / "x4/0802_LR.png")


def _doubled_above(lr: Path) -> None:
    shutil.copy(lr / "x4/0802x4.png", lr / "0802x4.png")


def _two_folders(lr: Path) -> None:
    shutil.copytree(lr / "x4", lr / "LR_bicubic/X4")


def _larger(lr: Path) -> None:
    save(lr / "x4/0802x4.png", np.zeros((9, 11, 3), dtype=np.uint8))


def _gray(lr: Path) -> None:
    save(lr / "x4/0802x4.png", np.zeros((8, 10), dtype=np.uint8))


def _no_image(lr: Path) -> None:
    (lr / "x4/0802x4.png").write_text("no image")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_missing, "has no LR file of x4 for 0802 of hr"),
        (_doubled, "has 2 LR files for 0802 of hr: 0802_LR.png, 0802x4.png"),
        (_doubled_above, "has LR files of x4 in x4/ and beside it: 0802x4.png"),
        (_two_folders, "has several folders of x4: x4/, LR_bicubic/X4/"),
        (_larger, "0802x4.png has 11x9 px; LR of HR of 42x33 px at x4 has 10x8"),
        (_gray, "LR is gray, and HR is RGB"),
        (_no_image, "0802x4.png is not an image"),
    ],
)
def test_lr_files_that_do_not_fit_are_one_line_and_nothing_is_averaged(
    spoil: Callable[[Path], None],
    said: str,
    lr: Path,
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(lr)
    capsys.readouterr()
    assert run("-m", "bicubic", "-s", 4, "--lr", lr) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "out/results.csv").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", "no folder and no LR set 'nowhere'; give a folder of LR files, or one of: be"),
        ("benchmark", "hr has no LR set 'benchmark'; give another"),
        ("nowhere_x{scale}", "no folder 'nowhere_x4' with LR files of x4"),
    ],
)
def test_lr_that_is_not_there_is_one_line(
    given: str, said: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-m", "bicubic", "-s", 4, "--lr", given) == 2
    assert said in capsys.readouterr().err


def test_sr_files_take_no_lr(
    lr: Path, hr: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-m", f"images:{hr}:name=Ours", "-s", 4, "--lr", lr) == 2
    assert "Ours: SR files take no LR; leave out --lr" in capsys.readouterr().err


NETWORK = """
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)
"""
PROGRAM = """
import sys
from pathlib import Path
import cv2

for path in Path(sys.argv[1]).iterdir():
    cv2.imwrite(str(Path(sys.argv[2]) / path.name), cv2.imread(str(path)).repeat(2, 0).repeat(2, 1))
"""


@pytest.mark.parametrize("kind", ["class_", "command"])
def test_a_method_in_a_process_of_its_own_gets_the_files(
    kind: str, lr: Path, hr: Path, tmp_path: Path
) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "program.py").write_text(PROGRAM)
    if kind == "class_":
        card = sisrbench.card(
            name="mine", class_=f"{tmp_path}/net.py:Net", channels="RGB", scales=[2]
        )
    else:
        called = f"{sys.executable} {tmp_path}/program.py {{lr_dir}} {{sr_dir}}"
        card = sisrbench.card(name="mine", command=called, scales=[2])
    for path in (lr / "x2").iterdir():
        save(path, 255 - np.asarray(Image.open(path)))

    def psnr(given: str = "") -> pd.DataFrame:
        table = sisrbench.measure(
            card, str(hr), scales=2, protocol="rcan2018", lr=given, metrics="psnr", progress=False
        )
        return pd.DataFrame(table[table["dataset"] != ""])

    own, given = psnr(), psnr(str(lr))
    assert set(given["dataset"]) == {"hr lr=lr"}
    assert max(given["value"]) < min(own["value"]) - 10


@pytest.mark.parametrize("method", ["bicubic", "espcn"])
def test_where_lr_is_made_of_luma_the_luma_of_the_file_is_taken_and_said(
    method: str, lr: Path, run: Run, tmp_path: Path
) -> None:
    assert run("-m", method, "-s", 2, "--lr", lr, protocol="srcnn2014") == 0
    (average,) = [row for row in rows(tmp_path / "out") if not row["image"]]
    assert "LR is the luma of the LR files, in whole levels" in average["note"]


def test_the_luma_of_a_given_lr_image_is_that_of_matlab(hr: Path, lr: Path) -> None:
    pixels = images.decode(hr / "0801.png")
    cpu = torch.device("cpu")
    given = images.to_tensor(images.decode(lr / "x4/0801x4.png"), cpu)
    of_luma = hr_and_lr(pixels, 4, protocols.load("srcnn2014"), "luma", cpu, given)
    assert torch.equal(of_luma[1], images.luma(given, rounded=True))
    for name in ("srcnn2014", "rcan2018"):
        _, of_rgb = hr_and_lr(pixels, 4, protocols.load(name), "RGB", cpu, given)
        assert torch.equal(of_rgb, given)
    gray = hr_and_lr(pixels[..., 0], 4, protocols.load("rcan2018"), "RGB", cpu, given[:1])
    assert torch.equal(gray[1], given[:1].expand(3, -1, -1))


def test_a_hint_runs_the_network_on_the_given_lr(hr: Path) -> None:
    seen: list[Tensor] = []

    class Network(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros(1, 1, 4 * x.shape[-2], 4 * x.shape[-1])

    given = torch.full((3, 8, 10), 77.0, dtype=torch.float64)
    pixels = images.decode(hr / "0801.png")
    method = zoo.load("espcn")[0]
    rules = protocols.load("rcan2018")
    hint([("0801", pixels, given, -99.0)], 4, rules, method, Network(), torch.device("cpu"))
    assert seen
    assert all(len(x.unique()) == 1 for x in seen)


def test_a_unit_knows_its_lr_files_and_reads_them_again(lr: Path, hr: Path) -> None:
    dataset = datasets.load(str(hr), QUIET)
    method, tag = zoo.load("bicubic")
    rules = protocols.load("rcan2018")
    files = lr_files.load(str(lr), dataset, 4, QUIET)
    requests = [AccuracyRequest(method, tag, 4, dataset, rules, given) for given in (None, files)]
    own, unit = accuracy_units(requests, torch.device("cpu"), ["psnr"])
    assert own.key != unit.key
    assert (own.on, unit.on) == ("hr", "hr lr=lr")
    assert unit.read_again().key == unit.key
    save(lr / "x4/0801x4.png", np.zeros((8, 10, 3), dtype=np.uint8))
    assert unit.read_again().key != unit.key


def test_a_folder_cannot_pass_for_a_set_with_lr_files(
    hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set5 lr=benchmark"
    shutil.copytree(hr, folder)
    out = str(tmp_path / "out")
    assert cli.status(["run", "-m", "bicubic", "-d", str(folder), "--out", out]) == 2
    assert "' lr=' in a dataset's name stands for LR files" in capsys.readouterr().err


@pytest.mark.usefixtures("mirror")
def test_the_published_lr_of_set5_gives_the_digits_of_the_protocol(tmp_path: Path) -> None:
    def measured(lr: str | Path = "") -> pd.DataFrame:
        table = sisrbench.measure(
            "bicubic", "set5", scales=[2, 3, 4, 8], protocol="rcan2018", lr=lr, metrics="psnr",
            progress=False,
        )  # fmt: skip
        return table[table["dataset"] != ""].reset_index(drop=True)

    own = measured()
    published = measured(lr="benchmark")
    assert set(published["dataset"]) == {"set5 lr=benchmark"}
    assert list(published["value"]) == list(own["value"])
    assert list(measured(lr="LR_x{scale}_benchmark")["value"]) == list(own["value"])
    for scale in (2, 3, 4, 8):
        for name, file in datasets.manifest("set5").role(f"LR_x{scale}_benchmark").items():
            (tmp_path / f"X{scale}").mkdir(exist_ok=True)
            shutil.copy(fetch.local_path(file), tmp_path / f"X{scale}" / f"{name}x{scale}.png")
    assert list(measured(lr=tmp_path)["value"]) == list(own["value"])
    with pytest.raises(sisrbench.InputError, match=r"'matlab_uint8' at x2, x3, x4, and not at x8"):
        measured(lr="matlab_uint8")
