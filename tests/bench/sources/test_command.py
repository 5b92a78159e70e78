"""External programs as methods: run once an image or once a folder, and every fault in one line."""

from __future__ import annotations

import csv
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import costs, images, sources
from bench.cli import main as cli
from bench.evaluate import evaluate
from bench.files import weights
from bench.inference import Inference
from bench.metrics import load as metric
from bench.network import prepare, remarks_of
from bench.plan import Unit
from bench.protocol import load as protocol
from bench.runtimes import program
from bench.sources.card import Card
from bench.timing.clock import Timing
from zoo.errors import InputError

ENLARGE = """
import sys; from PIL import Image
lr = Image.open(sys.argv[1])
lr.resize((lr.width * int(sys.argv[3]), lr.height * int(sys.argv[3])), 0).save(sys.argv[2])
"""
FOLDER = """
import sys; from pathlib import Path; from PIL import Image
paths = sorted(Path(sys.argv[1]).iterdir())
for path in paths:
    lr, s = Image.open(path), int(sys.argv[3])
    lr.resize((lr.width * s, lr.height * s), 0).save(Path(sys.argv[2]) / f"{path.stem}_nearest.png")
with open(sys.argv[4], "a") as file:
    print(*[path.stem for path in paths], file=file)
"""
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for temporary files, which has to be empty at the end too."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    program.leave_nothing()
    assert not _left(folder)


def _left(folder: Path) -> list[Path]:
    """What is in a folder for temporary files, but for a cache of torch's own."""
    return [path for path in folder.iterdir() if not path.name.startswith("torchinductor")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rows, columns = np.mgrid[0:32, 0:40]
    for number, name in enumerate(("ape", "bee")):
        planes = [
            127 + 60 * np.sin(rows / 5 + number) + 50 * np.cos(columns / k) for k in (6, 7, 8)
        ]
        Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def card(
    tmp_path: Path, code: str, words: str = "{lr} {sr} {scale}", timeout: float = 60.0
) -> Card:
    """A card with a program of these lines."""
    (tmp_path / "tool.py").write_text(code)
    command = f"{shlex.quote(sys.executable)} tool.py {words}"
    return Card(name="Ours", kind="command", source=command, folder=tmp_path, timeout=timeout)


def enlarged(given: Card, lr: torch.Tensor, scale: int = 2) -> torch.Tensor:
    method, _ = sources.load(given)
    module = weights.build(method, weights.resolve(method, "", scale), scale, CPU)
    out: torch.Tensor = prepare(module, Inference(), method.factor(scale), CPU)(lr)
    return out


RGB = torch.arange(3 * 5 * 7, dtype=torch.float64).reshape(1, 3, 5, 7)


def averages(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["dataset"] and not row["image"]]


def test_a_program_of_three_lines_has_the_digits_of_nearest(photos: Path, tmp_path: Path) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text(ENLARGE)
    out = tmp_path / "out"
    command = f"cmd:{sys.executable} {tool} {{lr}} {{sr}} {{scale}}"
    common = ["-d", str(photos), "-s", "2", "--protocol", "rcan2018", "--out", str(out)]
    assert cli.status(["run", "-m", "nearest", "-m", command, *common]) == 0
    found = averages(out)
    assert {row["method"] for row in found} == {"nearest", "tool.py"}
    for quantity in ("psnr_y", "ssim_y"):
        assert len({row["value"] for row in found if row["quantity"] == quantity}) == 1


def test_a_program_for_folders_runs_once_for_all_images(photos: Path, tmp_path: Path) -> None:
    toml = tmp_path / "card.toml"
    calls = tmp_path / "calls"
    (tmp_path / "tool.py").write_text(FOLDER)
    command = f"{sys.executable} tool.py {{lr_dir}} {{sr_dir}} {{scale}} {calls}"
    toml.write_text(f'name = "Ours"\ncommand = "{command}"\n')
    out = tmp_path / "out"
    common = ["-d", str(photos), "-s", "2", "--protocol", "rcan2018", "--out", str(out)]
    assert cli.status(["run", "-m", "nearest", "-m", str(toml), *common]) == 0
    found = averages(out)
    assert len({row["value"] for row in found if row["quantity"] == "psnr_y"}) == 1
    assert "SR files found as NAME_METHOD" in found[-1]["note"]
    assert calls.read_text() == "ape bee\n"


def test_an_edited_script_is_measured_again(tmp_path: Path) -> None:
    given = card(tmp_path, ENLARGE, "{lr} {sr} {scale} --net=net_x{scale}.txt")
    (tmp_path / "net_x2.txt").write_text("weights")

    def key(given: Card) -> str:
        method, _ = sources.load(given)
        resolved = weights.resolve(method, "", 2)
        rules = protocol("rcan2018")
        return Unit(
            method=method, weights=resolved, scale=2, protocol=rules, device=CPU, names=("memory",)
        ).key

    keys = [key(given), key(given), key(replace(given, channels="luma"))]
    (tmp_path / "tool.py").write_text(ENLARGE.replace(", 0)", ", 3)"))
    keys.append(key(given))
    (tmp_path / "net_x2.txt").write_text("other weights")
    keys.append(key(given))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("import sys; print('no licence', file=sys.stderr); sys.exit(3)",
         "ended with status 3, its last words: no licence, with LR of 7x5 px"),
        ("pass", "wrote nothing of the file {sr}, and ended with status 0"),
        ("import sys; open(sys.argv[2] + '.tmp', 'w')", "wrote image.png.tmp instead"),
        ("import sys; open('elsewhere.png', 'w')", "wrote nothing of the file {sr}"),
        ("import sys; open(sys.argv[2], 'w')", "the file that it wrote is not an image"),
        ("import sys, shutil; shutil.copy(sys.argv[1], sys.argv[2])",
         "wrote an image of 7x5 px for LR of 7x5 px; expected 14x10"),
        ("import os; os.kill(os.getpid(), 9)", "ended with signal 9"),
        (ENLARGE.replace(".save", ".convert('L').save"), "wrote gray for RGB LR"),
    ],
)  # fmt: skip
def test_a_fault_of_the_program_is_one_line(code: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        enlarged(card(tmp_path, code), RGB)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert str(tempfile.gettempdir()) not in str(error.value)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _gone(pid: int) -> bool:
    """Whether a process ends within a second."""
    deadline = time.monotonic() + 1
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _is_running(pid)


SLEEPS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("pid", "w").write(str(child.pid))
"""


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"took longer than 0\.7 s; give more by timeout"):
        enlarged(card(tmp_path, SLEEPS + "time.sleep(60)", timeout=0.7), RGB)
    assert time.monotonic() - began < 5
    assert _gone(int((tmp_path / "pid").read_text()))


def test_children_that_a_program_leaves_are_ended_and_said(tmp_path: Path) -> None:
    method, _ = sources.load(card(tmp_path, ENLARGE + SLEEPS))
    module = weights.build(method, weights.resolve(method, "", 2), 2, CPU)
    module(RGB)
    assert _gone(int((tmp_path / "pid").read_text()))
    assert remarks_of(module) == ["processes that the program left running were ended"]


def test_a_flood_of_output_is_not_kept(tmp_path: Path) -> None:
    flood = "import os\nfor _ in range(2000): os.write(1, b'x' * 65536)\n"
    with pytest.raises(InputError) as error:
        enlarged(card(tmp_path, flood + "os.write(2, b'\\nlast\\x1b[31m\\n')\nos._exit(1)"), RGB)
    assert len(str(error.value)) < 600
    assert "last\\x1b[31m, with LR" in str(error.value)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("tool {lr}", "the command needs {lr} and {sr} for an image"),
        ("tool", "and it has none"),
        ("tool {lr} {sr_dir}", "it has {lr}, {sr_dir}"),
        ("no-such-program {lr} {sr}", "cannot run 'no-such-program'"),
        ("./nowhere/tool {lr} {sr}", "No such file or directory"),
    ],
)
def test_a_command_that_cannot_run_is_one_line(command: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        enlarged(Card(name="Ours", kind="command", source=command, folder=tmp_path), RGB)
    assert line in str(error.value)


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    enlarged(card(tmp_path, ENLARGE, "{lr} {sr} {scale} ; touch made '$(touch made)' > made"), RGB)
    assert not (tmp_path / "made").exists()


def test_placeholders_stand_inside_words(tmp_path: Path) -> None:
    code = ENLARGE.replace("sys.argv[1]", "sys.argv[1].removeprefix('-i=')")
    assert torch.equal(
        enlarged(card(tmp_path, code, "-i={lr} {sr} {scale}"), RGB),
        RGB.repeat_interleave(2, -1).repeat_interleave(2, -2),
    )


def test_lr_without_whole_levels_is_refused_before_the_program_runs(tmp_path: Path) -> None:
    given = card(tmp_path, "open('ran', 'w')")
    with pytest.raises(InputError, match=r"its LR is not in whole levels.*choose .*rcan2018"):
        enlarged(given, RGB + 0.25)
    with pytest.raises(InputError, match=r'its luma.*choose selfexsr2015.*or channels = "RGB"'):
        enlarged(replace(given, channels="luma"), RGB[:, :1] + 0.25)
    assert not (tmp_path / "ran").exists()


def test_a_luma_command_gets_a_gray_file(photos: Path, tmp_path: Path) -> None:
    code = ENLARGE + "assert lr.mode == 'L'\n"
    given = replace(card(tmp_path, code), channels="luma")
    method, _ = sources.load(given)
    module = weights.build(method, weights.resolve(method, "", 2), 2, CPU)
    pixels = images.decode(photos / "ape.png")
    rules, used = protocol("selfexsr2015"), {"psnr": metric("psnr")}
    found = evaluate(pixels, 2, rules, method, module, used, CPU)
    plain = replace(method, build=lambda *_: torch.nn.Upsample(scale_factor=2, mode="nearest"))
    expected = evaluate(pixels, 2, rules, plain, plain.build(2, {}), used, CPU)
    assert found == expected


def test_costs_are_not_counted_and_the_time_says_what_it_includes(tmp_path: Path) -> None:
    method, _ = sources.load(card(tmp_path, ENLARGE))
    module = weights.build(method, weights.resolve(method, "", 4), 4, CPU)
    subject = costs.Subject(
        method=method,
        module=module,
        scale=4,
        protocol=protocol("rcan2018"),
        device=CPU,
        timing=Timing(repetitions=1, budget=5),
        inference=Inference(),
    )
    for name in costs.names():
        if costs.is_timed(name):
            continue
        with pytest.raises(InputError, match="not counted: an external program"):
            assert costs.load(name).measure(subject) == {}
    found = costs.load("seconds").measure(subject)["seconds"]
    assert "end to end: start of the program, files" in found.note


def test_interrupting_the_command_leaves_neither_program_nor_files(
    photos: Path, tmp_path: Path, temporary: Path
) -> None:
    given = card(tmp_path, SLEEPS + "time.sleep(60)")
    arguments = ["run", "-m", f"cmd:{given.source}".replace("tool.py", str(tmp_path / "tool.py"))]
    arguments += ["-d", str(photos), "-s", "2", "--protocol", "rcan2018"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *arguments, "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 128 + signal.SIGINT
    assert _gone(int((tmp_path / "pid").read_text()))
    assert not _left(temporary)
