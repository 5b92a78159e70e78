"""The command: what it leaves behind, and one clear line with status 2 for what it cannot use."""

from __future__ import annotations

import csv
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from bench import costs, result
from bench.cli import main as cli
from bench.files import fetch, weights, whole
from bench.protocol import PROTOCOLS
from bench.timing.clock import Times
from zoo.srcnn import SRCNN

ROOT = Path(__file__).parents[3]


def photo(path: Path, size: tuple[int, int] = (40, 32), mode: str = "RGB") -> Path:
    """A small smooth picture that interpolation does well on."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    waves = 127 + 60 * np.sin(rows / 5) + 60 * np.cos(columns / 7)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(waves.astype(np.uint8)).convert(mode).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    photo(tmp_path / "photos" / "waves.png")
    photo(tmp_path / "photos" / "gray.png", (33, 41), "L")
    return tmp_path / "photos"


def run(*arguments: str | Path) -> int:
    return cli.status([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The error line of a command that has to end with status 2."""
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    return lines[-1]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_run_leaves_the_report_the_table_and_the_store(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("run", "-m", "bicubic", "-d", photos, "-s", 2, "--repeat", 1, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html",
        "results.csv",
        "results.sqlite",
    ]
    assert (out / "index.html").read_text().startswith("<!DOCTYPE html>")
    found = {(row["image"], row["quantity"]) for row in rows(out) if row["dataset"] == "photos"}
    images = {"waves", "gray", ""}
    assert found == {(image, name) for image in images for name in ("psnr_y", "ssim_y")}


def test_the_table_has_the_promised_columns(photos: Path, tmp_path: Path) -> None:
    run("run", "-m", "bicubic", "-d", photos, "-s", 2, "--repeat", 1, "--out", tmp_path / "out")
    header = (tmp_path / "out" / "results.csv").read_text().splitlines()[0]
    assert header == (
        "method,weights,scale,dataset,image,protocol,inference,quantity,value,unit,spread,source,"
        "run,note"
    )


def test_cost_needs_no_image_and_no_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("edsr-baseline", "fsrcnn", "-s", 2, "-s", 4, "--no-time", "--out", tmp_path)
    assert run("cost", *args) == 0
    shown = capsys.readouterr().out
    found = {
        (row["method"], row["scale"], row["quantity"]): float(row["value"])
        for row in rows(tmp_path)
    }
    assert found["edsr-baseline", "4", "parameters"] == 1517571
    assert found["fsrcnn", "2", "multadds_720p"] == pytest.approx(6.00699, abs=1e-5)
    assert found["edsr-baseline", "2", "multiplies_720p"] == pytest.approx(316.249, abs=1e-3)
    assert not any(quantity.startswith("seconds") for _, _, quantity in found)
    assert "1,369,859" in shown
    assert "316.2" in shown
    assert (tmp_path / "index.html").is_file()


def test_cost_times_the_setting_that_was_asked_for(tmp_path: Path) -> None:
    args = ("-s", 4, "--repeat", 3, "--precision", "bf16", "--batch", 2, "--out", tmp_path)
    assert run("cost", "espcn", "bicubic", *args) == 0
    seconds = [row for row in rows(tmp_path) if row["quantity"] == "seconds"]
    found = {row["method"]: row["inference"] for row in seconds}
    assert found == {"espcn": "bf16 batch=2", "bicubic": ""}
    shares = [row for row in rows(tmp_path) if row["quantity"] == "roofline_fraction"]
    assert [row["method"] for row in shares] == ["espcn"]
    assert 0 < float(shares[0]["value"]) < 5
    assert "matrix product" in shares[0]["note"]


def times(out: Path) -> list[dict[str, str]]:
    return [row for row in rows(out) if row["quantity"] == "seconds"]


def test_time_is_measured_where_it_is_asked_for(photos: Path, tmp_path: Path) -> None:
    args = ("-m", "bicubic", "-d", photos, "-s", 2, "--metric", "psnr", "--out", tmp_path / "o")
    assert run("run", *args) == 0
    assert times(tmp_path / "o") == []
    assert run("run", *args, "--time") == 0
    assert len(times(tmp_path / "o")) == 1
    args = ("edsr2017_table1", "edsr2017_models", "--out", tmp_path / "p")
    assert run("reproduce", *args) == 0  # the tables claim parameters alone
    assert times(tmp_path / "p") == []


def test_a_time_is_measured_again_only_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter((2.0, 3.0))

    def timed(*_: object) -> Times:
        wall = (next(taken),) * 5
        return Times(wall=wall, processor=1.0, background=1.5, cores=2, threads=2)

    monkeypatch.setattr("bench.costs.seconds.timed", timed)
    command = ("cost", "bicubic", "-s", 2, "--out", tmp_path)
    assert run(*command) == 0
    shown = capsys.readouterr()
    assert "~ bicubic x2: unsteady: other processes used 1.5 of 2 cores" in shown.out
    assert "unsteady: other processes used 1.5 of 2 cores" in shown.err
    assert float(times(tmp_path)[0]["value"]) == 2.0
    assert run(*command) == 0
    assert float(times(tmp_path)[0]["value"]) == 2.0
    assert run(*command, "--again") == 0
    assert float(times(tmp_path)[0]["value"]) == 3.0
    assert run("report", "--out", tmp_path) == 0
    assert [float(row["value"]) for row in times(tmp_path)] == [3.0]
    assert "~3.00" in (tmp_path / "index.html").read_text()


def test_again_without_a_time_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cost", "bicubic", "-s", 2, "--no-time", "--again", "--out", tmp_path) == 2
    assert "--again measures times again, but no time is asked for" in capsys.readouterr().err
    assert not (tmp_path / "results.sqlite").exists()


def test_times_of_several_settings_stand_beside_their_psnr(photos: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "o")
    args = ("-m", "espcn@none", "-d", photos, "-s", 2, "--time", "--metric", "psnr", *out)
    assert run("run", *args) == 0
    assert run("run", *args, "--precision", "bf16") == 0
    assert run("report", *out) == 0
    page = (tmp_path / "o" / "index.html").read_text()
    section = page.partition("Ways to run a network</h2>")[2].partition("</section>")[0]
    assert section.count('<tr><th scope="row">espcn <small>none</small></th>') == 2
    assert "bf16" in section
    assert "fp32" in section
    psnr = [float(row["value"]) for row in rows(tmp_path / "o")
            if row["quantity"] == "psnr_y" and not row["image"]]  # fmt: skip
    assert len(psnr) == 2
    assert psnr[0] != psnr[1]


@pytest.mark.parametrize("arguments", [("--tile", "16"), ("--memory", "400kB")])
def test_tiles_change_no_printed_digit(
    photos: Path, tmp_path: Path, arguments: tuple[str, str]
) -> None:
    values = []
    for more in ((), arguments):
        out = tmp_path / "-".join(["o", *more])
        args = ("-m", "espcn@none", "-d", photos, "-s", 2, "--repeat", 1, *more, "--out", out)
        assert run("run", *args) == 0
        values += [float(r["value"]) for r in rows(out) if r["quantity"] == "psnr_y" and r["image"]]
    half = len(values) // 2
    assert values[:half] == pytest.approx(values[half:], abs=1e-4)


def test_cost_takes_a_methods_own_scales_where_it_has_no_usual_one(tmp_path: Path) -> None:
    plugin = tmp_path / "large.py"
    plugin.write_text(
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('large',)\n"
        "def method(name):\n    return Method(name=name, citation='me', takes='LR', scales=(8,),\n"
        "        channels='any', build=lambda scale, settings: nn.Upsample(scale_factor=scale))\n"
    )
    assert run("cost", plugin, "--no-time", "--out", tmp_path / "o") == 0
    assert {row["scale"] for row in rows(tmp_path / "o")} == {"8"}


def test_a_checkpoint_that_shifts_colours_otherwise_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = "edsr-baseline:blocks=1,features=8"
    method, _ = zoo.load(spec)
    state = weights.fresh(method, 2).state_dict()
    state["sub_mean.weight"] = 2 * state["sub_mean.weight"]
    torch.save(state, tmp_path / "mixed.pt")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    line = refused(capsys, "upscale", f"{spec}@{tmp_path / 'mixed.pt'}", tmp_path / "a.png",
                   "--out", tmp_path)  # fmt: skip
    assert "sub_mean.weight mixes or scales colours; expected the identity" in line
    assert line.endswith("nothing was loaded")
    assert not list(tmp_path.glob("*_x2_*"))


def test_show_tells_the_card_the_layers_and_the_claims(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("show", "edsr-baseline", "-s", 2) == 0
    shown = capsys.readouterr().out
    assert "https://cv.snu.ac.kr/research/EDSR/models/edsr_baseline_x2-1bc95232.pt" in shown
    assert re.search(r"body\.0\.body\.0 +convolution +64x64x3x3 +64 x 1 +0\.036864 +2\.7%", shown)
    assert "1.372608" in shown
    assert re.search(r"edsr2017_table1 +x4 +parameters +1\.5M", shown)


def test_show_of_an_interpolation_has_no_layers_to_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("show", "bicubic") == 0
    assert "no published weights" in capsys.readouterr().out


def test_alex_is_left_out_unless_it_is_asked_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    args = ("-m", "nearest", "-d", photos, "-s", 2, "--repeat", 1, "--out", tmp_path / "o")
    assert run("run", *args) == 0
    assert not any(row["quantity"].startswith("alex") for row in rows(tmp_path / "o"))
    monkeypatch.setattr(fetch.RemoteFile, "url", "http://127.0.0.1:9/nothing")
    monkeypatch.delenv("SISRBENCH_MIRROR", raising=False)
    line = refused(capsys, "run", *args, "--metric", "alex")
    assert "metric alex: cannot download alexnet-owt-7be5be79.pth" in line


def test_a_network_stands_in_the_figures_with_its_cost(photos: Path, tmp_path: Path) -> None:
    args = ("-m", "espcn@none", "-m", "bicubic", "-d", photos, "-s", 2, "--repeat", 1)
    assert run("run", *args, "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "index.html").read_text()
    figures = [part.partition("</svg>")[0] for part in page.split("<svg")[1:]]
    assert figures
    assert all("espcn" in figure and "bicubic" in figure for figure in figures)


def test_an_average_is_the_mean_of_its_images(photos: Path, tmp_path: Path) -> None:
    run("run", "-m", "bicubic", "-d", photos, "-s", 2, "--repeat", 1, "--out", tmp_path / "out")
    values = {
        row["image"]: float(row["value"])
        for row in rows(tmp_path / "out")
        if row["quantity"] == "psnr_y"
    }
    assert values[""] == pytest.approx((values["waves"] + values["gray"]) / 2, abs=1e-12)


def test_a_finished_job_computes_nothing_and_says_so(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        "run",
        "-m",
        "bicubic",
        "-d",
        photos,
        "-s",
        2,
        "--repeat",
        1,
        "--out",
        tmp_path / "o",
    )
    run(*command)
    before = (tmp_path / "o" / "results.csv").read_bytes()
    capsys.readouterr()
    assert run(*command) == 0
    count = len(costs.names())  # the accuracy, and every cost but time
    assert f"Nothing to compute: all {count} measurements are stored." in capsys.readouterr().err
    assert (tmp_path / "o" / "results.csv").read_bytes() == before


def test_a_changed_image_is_measured_anew(photos: Path, tmp_path: Path) -> None:
    command = (
        "run",
        "-m",
        "bicubic",
        "-d",
        photos,
        "-s",
        2,
        "--repeat",
        1,
        "--out",
        tmp_path / "o",
    )
    run(*command)
    before = (tmp_path / "o" / "results.csv").read_text()
    photo(photos / "waves.png", (44, 36))
    run(*command)
    assert (tmp_path / "o" / "results.csv").read_text() != before


def test_report_renders_again_what_is_stored(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("run", "-m", "bicubic", "-d", photos, "-s", 2, "--repeat", 1, "--out", out)
    before = (out / "results.csv").read_text()
    (out / "index.html").unlink()
    (out / "results.csv").unlink()
    assert run("report", "--out", out) == 0
    assert (out / "results.csv").read_text() == before
    assert (out / "index.html").exists()


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    told = capsys.readouterr().out
    for name in ("srcnn-9-5-5", "urban100", "edsr2017_table3", "laljavid", "ssim", "seconds"):
        assert name in told


def test_list_lines_up_the_remarks_after_the_longest_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("list", "protocols") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    width = max(len(name) for name in PROTOCOLS)
    assert [line[2 : 2 + width].rstrip() for line in lines] == list(PROTOCOLS)
    assert {line[2 + width] for line in lines} == {" "}


def test_upscale_keeps_colour_and_doubles_the_size(photos: Path, tmp_path: Path) -> None:
    assert run("upscale", "bicubic", photos / "waves.png", "--out", tmp_path / "up") == 0
    with Image.open(tmp_path / "up" / "waves_x2_bicubic.png") as picture:
        assert (picture.size, picture.mode) == ((80, 64), "RGB")


def test_upscale_by_a_luma_method_interpolates_chroma(tmp_path: Path) -> None:
    red = np.zeros((12, 14, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    mine = tmp_path / "same.py"
    mine.write_text(
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('same',)\n"
        "def method(name):\n"
        "    return Method(name=name, citation='me', takes='interpolated', channels='luma',\n"
        "                  build=lambda scale, settings: nn.Identity())\n"
    )
    assert run("upscale", mine, tmp_path / "red.png", "--out", tmp_path / "up") == 0
    with Image.open(tmp_path / "up" / "red_x2_same.png") as picture:
        assert np.abs(np.array(picture).astype(int) - [200, 0, 0]).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-m", "bicubik"], "no method 'bicubik'; did you mean 'bicubic'"),
        (["run", "-d", "set6"], "no dataset 'set6'; did you mean 'set5'"),
        (["run", "-d", "./nowhere"], "no folder './nowhere'"),
        (["run", "--protocol", "srcnn2015"], "did you mean 'srcnn2014'"),
        (["run", "--metric", "psn"], "did you mean 'psnr'"),
        (["run", "-s", "1"], "1 is not in the range x>=2"),
        (["run", "-s", "two"], "'two' is not a valid integer range"),
        (
            ["run", "--device", "gpu"],
            "no device 'gpu' that computes in float64 on this machine; choose from: cpu",
        ),
        (["run", "-m", "fsrcnn"], "fsrcnn has no published weights; add @FILE"),
        (["run", "-m", "srcnn-9-3-5", "-s", "2"], "published at x3 only, not at x2"),
        (["run", "-m", "srcnn-9-1-5@image"], "choose from: 91, imagenet, sisrbench, none"),
        (["run", "-m", "bicubic@91"], "bicubic has no weights '91'"),
        (
            ["reproduce", "srcnn2014"],
            "no table or experiment 'srcnn2014'; did you mean 'srcnn2014_set5'",
        ),
        (["reproduce"], "Missing argument 'TABLE...'"),
        (["fetch", "set55"], "no dataset, method or metric 'set55'; did you mean 'set5'"),
        (["fetch", "bicubic"], "bicubic has no published weights to fetch"),
        (["list", "method"], "did you mean 'methods'"),
        (["cost"], "Missing argument 'METHOD...'"),
        (["cost", "edsr", "-s", "5"], "edsr has no x5; choose from: x2, x3, x4, x8"),
        (["cost", "bicubic", "--precision", "tf32"], "tf32 is a precision of NVIDIA GPUs"),
        (["cost", "bicubic", "--memory", "much"], "'much' is no size of memory; give a number"),
        (["cost", "bicubic", "--tile", "0"], "0 is not in the range x>=1"),
        (["run", "-m", "memnet:gate=2@none"], "memnet:gate=2: choose from: 1, 3"),
        (["run", "-m", "edsr++"], "no method 'edsr+'; did you mean 'edsr'"),
        (["show", "edrs"], "did you mean 'edsr'"),
        (["report", "--out", "nowhere"], "no store nowhere"),
        (["upscale", "bicubic", "nowhere.png"], "no image 'nowhere.png'"),
        (["upscale", "bicubic", "a/x.png", "b/x.png"], "would be written to the same file"),
        (["check", "nowhere.csv"], "cannot read nowhere.csv"),
        (["runn"], "No such command 'runn'"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def _truncated(path: Path) -> None:
    data = photo(path, (200, 150)).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _sixteen_bit(path: Path) -> None:
    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(path)


def _transparent(path: Path) -> None:
    Image.new("RGBA", (40, 40), (9, 9, 9, 128)).save(path)


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (_truncated, "cannot be read"),
    "text": (lambda path: path.write_text("hello"), "is not an image"),
    "16-bit": (_sixteen_bit, "expected 8-bit gray or RGB"),
    "transparent": (_transparent, "partly transparent"),
    "one pixel": (lambda path: photo(path, (1, 1)), "1x1 px leave nothing at x2"),
    "tiny": (lambda path: photo(path, (12, 12)), "SSIM needs 11x11"),
}


@pytest.mark.parametrize("kind", sorted(BAD_IMAGES))
def test_a_bad_image_is_named_and_no_report_is_written(
    kind: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD_IMAGES[kind]
    make(photos / "zz.png")
    line = refused(capsys, "run", "-m", "bicubic", "-d", photos, "-s", 2, "--out", tmp_path / "o")
    assert message in line
    assert "zz.png" in line
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["results.sqlite"]


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_a_palette_and_an_opaque_alpha_are_handled(mode: str, tmp_path: Path) -> None:
    photo(tmp_path / "a" / "x.png")
    photo(tmp_path / "b" / "x.png", mode=mode)
    for name in "ab":
        args = ("-d", tmp_path / name, "-s", 2, "--metric", "psnr", "--repeat", 1)
        assert run("run", "-m", "bicubic", *args, "--out", tmp_path / f"out-{name}") == 0
    plain, other = (rows(tmp_path / f"out-{name}")[0]["value"] for name in "ab")
    assert plain == other


def test_an_empty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    line = refused(capsys, "run", "-d", tmp_path / "photos", "--out", tmp_path / "out")
    assert "holds no images" in line
    assert not (tmp_path / "out").exists()


class Malice:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def _weights(path: Path, kind: str) -> None:
    state = SRCNN(9, 1, 5, 64, 32).state_dict()
    if kind == "shape":
        state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    elif kind == "surplus":
        state["conv4.weight"] = torch.zeros(1)
    elif kind == "missing":
        del state["conv2.bias"]
    elif kind == "nan":
        state["conv2.bias"][0] = torch.nan
    torch.save({"x": Malice(path.with_suffix(".mark"))} if kind == "malicious" else state, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", r"conv1.weight is (64, 1, 7, 7), expected (64, 1, 9, 9)"),
        ("surplus", "surplus conv4.weight"),
        ("missing", "missing conv2.bias"),
        ("nan", "conv2.bias holds NaN"),
        ("malicious", "nothing of it was executed"),
        ("truncated", "w.pt"),
    ],
)
def test_bad_weights_are_refused_and_nothing_is_loaded(
    kind: str, message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.pt"
    _weights(path, kind)
    line = refused(
        capsys, "run", "-m", f"srcnn-9-1-5@{path}", "-d", photos, "-s", 2, "--out", tmp_path / "o"
    )
    assert message in line
    assert not path.with_suffix(".mark").exists()
    assert not (tmp_path / "o" / "results.csv").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x * float('nan')", "gave NaN or infinite pixels"),
        ("x[..., 1:, :]", "gave a tensor of shape (1, 1, 31, 40); expected (1, 1, 32, 40)"),
        ("[x]", "gave a list; expected a tensor"),
    ],
)
def test_a_method_that_breaks_the_contract_is_named(
    body: str, message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "gray.png").unlink()
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('mine',)\n"
        f"class Net(nn.Module):\n    def forward(self, x):\n        return {body}\n"
        "def method(name):\n"
        "    return Method(name=name, citation='me', takes='interpolated', channels='any',\n"
        "                  build=lambda scale, settings: Net())\n"
    )
    line = refused(capsys, "run", "-m", mine, "-d", photos, "-s", 2, "--out", tmp_path / "out")
    assert message in line
    assert "mine" in line


def test_a_metric_that_gives_nan_is_named(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bench.metrics.psnr.measure", lambda sr, hr, protocol: float("nan"))
    line = refused(capsys, "run", "-m", "bicubic", "-d", photos, "-s", 2, "--out", tmp_path / "o")
    assert "psnr_y of bicubic x2 photos, gray, is NaN; fix the metric" in line


def test_identical_images_are_infinitely_good_and_not_nan(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 90).save(tmp_path / "flat.png")
    args = ("run", "-m", "nearest", "-d", tmp_path, "-s", 2, "--repeat", 1)
    assert run(*args, "--out", tmp_path / "out") == 0
    found = {row["quantity"]: row["value"] for row in rows(tmp_path / "out") if not row["image"]}
    assert (found["psnr_y"], found["ssim_y"]) == ("inf", "1.0")


def test_fetch_says_where_files_are_and_whose(
    mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fetch", "srcnn-9-1-5@imagenet", "set5") == 0
    told = capsys.readouterr().out
    assert "srcnn-9-1-5@imagenet: all 1 files are here" in told
    assert "licence: academic use only" in told


REMARKED = """
from dataclasses import replace
from zoo import espcn

NAMES = ("mine",)

def method(name):
    card = espcn.method("espcn")
    weights = tuple(replace(w, remark=f"{w.scale} dB below the paper") for w in card.weights)
    return replace(card, name=name, weights=weights)
"""


def test_a_remark_on_weights_is_told_everywhere(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(REMARKED)
    args = ("-m", tmp_path / "mine.py", "-d", photos, "-s", 2, "--repeat", 1)
    assert run("run", *args, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert shown.count("mine@sisrbench, photos x2: 2 dB below the paper") == 1
    assert "2 dB below the paper" in (tmp_path / "out" / "index.html").read_text()
    noted = [row for row in rows(tmp_path / "out") if "below the paper" in row["note"]]
    assert {(row["image"], row["quantity"]) for row in noted} == {("", "psnr_y"), ("", "ssim_y")}
    assert run("show", tmp_path / "mine.py") == 0
    assert "x3: 3 dB below the paper" in capsys.readouterr().out


def test_an_out_that_is_a_file_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert run("run", "-m", "bicubic", "-d", photos, "--out", tmp_path / "out") == 2
    assert (tmp_path / "out").read_text() == "mine"


def test_an_out_below_a_file_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    line = refused(
        capsys, "run", "-m", "bicubic", "-d", photos, "-s", 2, "--out", tmp_path / "file" / "out"
    )
    assert "cannot use the store" in line


def test_a_full_disk_is_said_and_leaves_no_half_file(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["run", "-m", "bicubic", "-d", str(photos), "-s", "2", "--repeat", "1"]
    arguments = [*command, "--out", str(out)]
    code = f"import sys; from bench.cli import main; sys.exit(main.status({arguments!r}))"

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=little_room,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("Error: cannot ")
    assert {path.name for path in out.iterdir()} <= {"results.sqlite", "results.sqlite-journal"}
    assert run(*command, "--out", out) == 0


def test_a_write_that_fails_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.csv"
    whole.write_whole({path: "old"})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(result.InputError, match="No space left on device"):
        whole.write_whole({path: "new"})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def wrong_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a paper table with one claim that does not hold."""
    folder = tmp_path / "published"
    shutil.copytree(ROOT / "bench" / "published", folder)
    (folder / "wrong.csv").write_text(
        "# title: wrong\n# source: nobody\n# labels: bicubic=Bicubic\n"
        "method,weights,scale,dataset,image,protocol,quantity,value,unit,note\n"
        "bicubic,,2,demo,,srcnn2014,psnr_y,40.00,dB,\n"
    )
    monkeypatch.setattr("bench.published.FOLDER", folder)
    return "wrong"


def test_strict_gives_status_1_where_a_cell_deviates(
    wrong_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("reproduce", wrong_table, "--repeat", 1, "--out", tmp_path / "out")
    assert run(*command) == 0
    assert run(*command, "--strict") == 1
    assert "deviates: Bicubic demo x2 average psnr_y 40.00" in capsys.readouterr().out


def test_other_rules_than_the_claims_own_judge_nothing_and_show_the_difference(
    wrong_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("reproduce", wrong_table, "--protocol", "vdsr2016", "--repeat", 1, "--out", out)
    assert run(*command) == 0
    (value,) = (
        float(row["value"])
        for row in rows(out)
        if (row["method"], row["dataset"], row["image"], row["quantity"])
        == ("bicubic", "demo", "", "psnr_y")
    )
    said = f"measured only under another protocol than srcnn2014: {value:.6g} dB under vdsr2016"
    shown = capsys.readouterr().out
    assert (
        f"not measured: Bicubic demo x2 average psnr_y 40.00: {said} ({value - 40:+.4g})" in shown
    )
    assert said in (out / "index.html").read_text()
    assert run("report", wrong_table, "--out", out) == 0
    shown = capsys.readouterr().out
    assert "deviates:" not in shown
    assert said in shown


def test_strict_gives_status_1_where_no_claim_could_be_judged(
    wrong_table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--protocol", "vdsr2016", "--repeat", 1, "--out", tmp_path / "out")
    assert run("reproduce", wrong_table, *other, "--strict") == 1
    assert "--strict: no claim could be judged" in capsys.readouterr().err


# What a number does not say by itself


def test_remarks_on_averages_stand_on_the_terminal_and_on_the_page(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 40), (90, 120, 30)).save(photos / "flat.png")
    plugin = tmp_path / "loud.py"
    plugin.write_text(
        "from torch import nn\nfrom zoo.method import Method\nNAMES = ('loud',)\n"
        "class Loud(nn.Module):\n    def forward(self, x):\n        return 255 * x\n"
        "def method(name):\n    return Method(name=name, citation='me', takes='interpolated',\n"
        "        channels='any', build=lambda scale, settings: Loud())\n"
    )
    out = tmp_path / "o"
    command = ("run", "-m", "bicubic", "-m", plugin, "-d", photos, "-s", 2, "--repeat", 1)
    for _ in range(2):  # the second time from the store
        assert run(*command, "--out", out) == 0
        shown = capsys.readouterr().out
        assert "  bicubic, photos x2: left out, infinite value: flat\n" in shown
        assert shown.count("  loud, photos x2: the output seems to be in [0, 255] instead of") == 1
    page = (out / "index.html").read_text()
    section = page.partition("Averages</h2>")[2].partition("</section>")[0]
    assert "bicubic, photos \N{MULTIPLICATION SIGN}2: left out, infinite value: flat" in section
    assert section.count("the output seems to be in [0, 255]") == 1


def test_second_run_says_that_the_store_holds_more(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o"
    command = ("-d", photos, "-s", 2, "--repeat", 1, "--out", out)
    assert run("run", "-m", "bicubic", *command) == 0
    assert "other results" not in capsys.readouterr().err
    assert "Other results" not in (out / "index.html").read_text()
    first = len(rows(out))
    assert run("run", "-m", "nearest", *command) == 0
    assert {row["method"] for row in rows(out)} == {"nearest"}
    said = f"other results in the store: {first}; `sisrbench report --out {out}` shows all"
    assert said in capsys.readouterr().err
    assert f"Other results in the store: {first};" in (out / "index.html").read_text()
    assert run("cost", "bicubic", "-s", 2, "--no-time", "--out", out) == 0
    assert "other results in the store: " in capsys.readouterr().err
    assert run("report", "--out", out) == 0
    assert len(rows(out)) == 2 * first
    assert "Other results" not in (out / "index.html").read_text()


def test_cells_that_were_measured_again_are_no_other_results(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        "run",
        "-m",
        "bicubic",
        "-d",
        photos,
        "-s",
        2,
        "--repeat",
        1,
        "--out",
        tmp_path / "o",
    )
    assert run(*command) == 0
    photo(photos / "waves.png", (44, 36))
    assert run(*command) == 0
    assert "other results" not in capsys.readouterr().err
