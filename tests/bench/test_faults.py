"""Faults of methods, metrics and the machine: each is one line, and other methods are measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torch import nn

from bench import evaluate, images, machine, measure, metrics
from bench import protocol as protocols
from bench.cli import main as cli
from bench.datasets import ImageFile
from bench.files import annotated_csv, fetch, matlab, weight_file
from bench.files.fetch import FetchError, RemoteFile
from bench.inference import DEFAULT
from bench.network import prepare
from bench.progress import Progress
from zoo.errors import InputError, one_line
from zoo.method import Method

PLUGIN = """
import torch
from torch import nn
from zoo.method import Method

NAMES = ("mine",)
{top}

class Net(nn.Module):
    def forward(self, x):
        {forward}
        return x

def method(name):
    return Method(name=name, citation="me", takes="interpolated", channels="any",
                  build=lambda scale, settings: Net())
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    return folder


@pytest.mark.parametrize(
    ("top", "forward", "said"),
    [
        ("torch.backends.fp32_precision = 'bf16'", "pass", "fp32_precision of torch.backends"),
        ("torch.backends.mkldnn.matmul.fp32_precision = 'bf16'", "pass", "fp32_precision"),
        ("torch.set_default_device('meta')", "pass", "torch.get_default_device()"),
        ("", "torch.set_default_device('meta')", "changes torch.get_default_device(), "),
        ("import numpy", "numpy.seterr(all='raise')", "changes numpy.geterr() for all that"),
        (
            "torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0.9)",
            "pass",
            "changes hooks of all torch.nn modules",
        ),
        (
            "from torch.overrides import BaseTorchFunctionMode as Mode; Mode().__enter__()",
            "pass",
            "changes modes of torch functions",
        ),
        ("", "raise KeyboardInterrupt", "raised KeyboardInterrupt; set SISRBENCH_TRACEBACK=1"),
        ("torch.set_num_threads = lambda count: 1 / 0", "pass", "raised ZeroDivisionError"),
    ],
)
def test_a_method_that_disturbs_its_process_is_one_line(
    top: str,
    forward: str,
    said: str,
    photos: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path, out = tmp_path / "mine.py", tmp_path / "out"
    path.write_text(PLUGIN.format(top=top, forward=forward))
    arguments = ["run", "-m", str(path), "-m", "bicubic", "-d", str(photos), "-s", "2"]
    assert cli.status([*arguments, "--metric", "psnr", "--out", str(out)]) == 1
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert "stored before" not in error
    (line,) = (each for each in error.splitlines() if each.startswith("not measured:"))
    assert said in line
    table = (out / "results.csv").read_text()
    assert "bicubic,,2,photos" in table
    assert "mine" not in table


def _method(module: nn.Module) -> Method:
    return Method(
        name="mine", citation="me", takes="interpolated", channels="any",
        build=lambda scale, settings: module,
    )  # fmt: skip


class Raises(nn.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ValueError("needs multiples of 8"), "LR of 9x9 px; fix the method, which has to take"),
        (MemoryError(), "memory ran out on 18x18 px; give smaller images"),
        (torch.OutOfMemoryError("CUDA out of memory"), "give smaller images, --tile PX"),
    ],
)
def test_advice_fits_the_fault_of_forward(error: Exception, advice: str) -> None:
    method, lr = _method(Raises(error)), torch.zeros(1, 9, 9, dtype=torch.float64)
    with pytest.raises(InputError, match=advice):
        evaluate.super_resolve(lr, (18, 18), method, Raises(error), protocols.load("srcnn2014"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: {}["x"], "metric mine raised KeyError: 'x'; fix .*mine.py"),
        (lambda: sys.exit(0), "metric mine raised SystemExit: 0; fix .*mine.py"),
        (lambda: None, "metric mine gave a NoneType; expected a float"),
        (lambda: torch.zeros(3), "metric mine gave a Tensor; expected a float"),
    ],
)
def test_a_metric_that_fails_is_named(answer: object, said: str) -> None:
    metric = SimpleNamespace(UNIT="", HIGHER_IS_BETTER=True, measure=lambda *_: answer())  # type: ignore[operator]
    image = torch.zeros(1, 40, 40, dtype=torch.float64)
    with pytest.raises(InputError, match=said):
        evaluate.compare_images(image, image, 2, protocols.load("srcnn2014"), {"mine": metric})


def test_a_metric_file_that_exits_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.setattr(metrics, "FOLDER", folder)
    monkeypatch.setattr("bench.metrics.__path__", [str(folder)])
    with pytest.raises(InputError, match=r"leaves.py does not import: SystemExit: 0; fix the file"):
        metrics.load("leaves")


class Uncopied(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def __deepcopy__(self, memo: dict[int, object]) -> Uncopied:
        raise SystemExit(0)


def test_a_module_that_exits_when_copied_runs_in_one_thread() -> None:
    module = prepare(Uncopied(), DEFAULT, 1, torch.device("cpu"))
    files = [ImageFile(str(number), Path("x"), "") for number in range(3)]
    found = measure._each(lambda image, module: {"x": 1.0}, files, module, 2)
    assert found == [{"x": 1.0}] * 3


def test_a_thread_that_cannot_be_prepared_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(count: int) -> None:
        raise RuntimeError("no thread")

    monkeypatch.setattr(torch, "set_num_threads", refuse)
    module = prepare(nn.Identity(), DEFAULT, 1, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="no thread"):
        measure._each(lambda image, module: {}, [ImageFile("a", Path("x"), "")], module, 1)
    assert "Traceback" not in capfd.readouterr().err


def test_out_of_memory_anywhere_in_a_unit_advises(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> nn.Module:
        raise MemoryError

    monkeypatch.setattr("bench.files.weights.build", build)
    unit = SimpleNamespace(
        inference=DEFAULT, method=None, weights=None, scale=2, device=torch.device("cpu")
    )
    with pytest.raises(InputError, match="out of memory: MemoryError; give smaller images"):
        measure.measure(unit, Progress(quiet=True))  # type: ignore[arg-type]


def test_an_exception_without_a_message_is_named_by_its_type() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert one_line(MemoryError()) == "MemoryError"
    assert one_line(MuteError()) == "MuteError"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Error: out of memory (MemoryError); give smaller images, --tile PX"),
        (SystemExit(0), "Error: unexpected SystemExit: 0; set SISRBENCH_TRACEBACK=1 to see where"),
        (KeyError("x"), "Error: unexpected KeyError: 'x'; set SISRBENCH_TRACEBACK=1"),
    ],
)
def test_any_exception_of_a_command_is_one_line_and_status_2(
    error: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("bench.session.stored", fail)
    assert cli.status(["report"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)


def test_a_cache_that_cannot_be_made_says_how_to_choose_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SISRBENCH_CACHE", str(tmp_path / "file" / "cache"))
    wanted = RemoteFile("https://example.org/a", "b.png", "0" * 64)
    with pytest.raises(FetchError, match=r"cannot make the cache folder .* as SISRBENCH_CACHE"):
        fetch.fetch_missing("x", [wanted], Progress(quiet=True))


def test_batch_normalisation_from_before_its_counters_is_loaded_as_torch_loads_it() -> None:
    old = {key: value for key, value in nn.BatchNorm2d(3).state_dict().items() if "num" not in key}
    old["weight"] = torch.tensor([1.0, 2.0, 3.0])
    module, by_torch = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    by_torch.load_state_dict(dict(old))
    weight_file.load_strictly(module, old, Path("old.pth"), "mine")
    assert all(torch.equal(module.state_dict()[k], v) for k, v in by_torch.state_dict().items())
    del old["running_mean"]
    with pytest.raises(InputError, match="missing running_mean"):
        weight_file.load_strictly(module, old, Path("old.pth"), "mine")


def test_sigterm_says_how_to_go_on_and_ends_with_143(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bench.cli", "run", "-m", "edsr@none", "-d", str(photos)]
    process = subprocess.Popen(
        [*command, "--time", "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(machine.__file__).parents[1])},
    )
    while not (out / "results.sqlite").is_file() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 143
    assert error.splitlines()[-1].startswith("Terminated; finished work is stored, the same")
    assert "Traceback" not in error
    assert sorted(path.name for path in out.iterdir()) == ["results.sqlite"]


def test_a_warning_is_one_line() -> None:
    code = "from bench.progress import tell_warnings; tell_warnings(); import warnings\n"
    code += "warnings.warn('two\\nlines')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "UserWarning: two lines\n"


def _train(photos: Path, out: Path, updates: int, *options: str) -> list[str]:
    made = ["train", "espcn", "-s", "2", "--data", str(photos), "--validate", "none"]
    small = ("--set", "batch=1", "--set", "patch=8", "--set", "stride=8")
    return [*made, "--updates", str(updates), *small, "--out", str(out), *options]


def test_another_number_of_updates_says_that_it_starts_from_the_beginning(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.status(_train(photos, out, 2)) == 0
    assert "from the beginning" not in capsys.readouterr().err
    assert cli.status(_train(photos, out, 2)) == 0
    assert "from the beginning" not in capsys.readouterr().err
    assert cli.status(_train(photos, out, 3)) == 0
    assert "cannot be continued, because it was made with updates 2, not 3" in (
        capsys.readouterr().err
    )


def test_sigterm_ends_a_training_with_a_checkpoint(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *_train(photos, out, 10**6, "--checkpoint", "1000")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(machine.__file__).parents[1])},
    )
    while not list(out.glob("*.log.csv")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 143
    assert "Stopping when this step is done" in error
    assert len(list(out.glob("*.checkpoint.safetensors"))) == 1


def test_a_table_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"# title: caf\xe9\na,b\n1,2\n")
    with pytest.raises(InputError, match=r"table.csv is not UTF-8 text \(byte 12\); save the file"):
        annotated_csv.read(tmp_path / "table.csv", ("a", "b"))


def test_postscript_under_an_image_name_is_not_given_to_ghostscript(tmp_path: Path) -> None:
    script = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    (tmp_path / "a.png").write_text(script)
    with pytest.raises(InputError, match=r"a.png is not an image, whatever its name says"):
        images.decode(tmp_path / "a.png")


@pytest.mark.parametrize("code", [0, 8, 10, 14, 19, 200])
def test_a_matlab_file_that_crashes_scipy_is_one_line(code: int, tmp_path: Path) -> None:
    path = tmp_path / "w.mat"
    scipy.io.savemat(path, {"a": np.zeros((3, 4))})
    assert matlab.load(path)["a"].shape == (3, 4)
    data = bytearray(path.read_bytes())
    place = data.index(b"\x09\x00\x00\x00", 128)  # the data type of the numbers: float64
    data[place : place + 4] = code.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"w.mat (is damaged|cannot be read)"):
        matlab.load(path)


def test_no_file_of_the_working_folder_shadows_a_module_for_a_method(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, place = tmp_path / "mine.py", tmp_path / "place"
    path.write_text(PLUGIN.format(top="", forward="pass"))
    place.mkdir()
    (place / "random.py").write_text("open('executed', 'w')\n")
    monkeypatch.chdir(place)
    arguments = ["run", "-m", str(path), "-d", str(photos), "-s", "2", "--metric", "psnr"]
    assert cli.status([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert not (place / "executed").exists()
