"""Training: what comes out says how it was made, and what stops it costs at most a step."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image
from skimage.color import rgb2ycbcr

import zoo
from bench import datasets
from bench.cli import main as cli
from bench.files.identity import code_of
from bench.progress import Progress, TrainingProgress
from bench.training import pictures, recipes

TOY = '''
"""The first principal direction of rows of pixels, by power iteration."""

import os
import signal
import time

import torch
from torch import nn

from zoo.method import Method, Recipe, Step

NAMES = ("toy",)


class Toy(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.direction = nn.Parameter(torch.zeros(size))
        self.register_buffer("first", torch.zeros(size))

    def forward(self, x):
        return x + 0 * self.direction.sum()


def rows(inputs):
    size = inputs.method.settings["size"]
    return torch.cat([image[:, :size] for image in inputs.images])


def power(inputs):
    saved = inputs.saved
    mean = saved["mean"] if saved else rows(inputs).mean(0)
    if saved:
        first, v, done = saved["first"], saved["v"].clone(), int(saved["done"])
    else:
        generator = torch.Generator().manual_seed(inputs.seed)
        first = torch.randn(len(mean), generator=generator, dtype=torch.float64)
        v, done = first.clone(), 0
        state = {"mean": mean, "first": first, "v": v, "done": torch.tensor(0)}
        yield Step(stage="mean", done=1, total=1, state=state)
    data = rows(inputs) - mean
    total = inputs.settings["iterations"]
    while done < total:
        v.copy_(data.T @ (data @ v))  # in place: a step that is cut off leaves no state to keep
        interfere(done + 1)
        v /= v.norm()
        done += 1
        state = {"mean": mean, "first": first, "v": v, "done": torch.tensor(done)}
        note = f"sum {float(v.sum()):.3f}"
        yield Step(stage="power", done=done, total=total, state=state, note=note)
    return {"direction": v, "first": first}


def interfere(step):
    if step == int(os.environ.get("FAIL_AT", 0)):
        raise ValueError("as asked")
    if step == int(os.environ.get("SLEEP_AT", 0)):
        open(os.environ["ASLEEP"], "w").close()
        time.sleep(600)
    if step == int(os.environ.get("INTERRUPT_AT", 0)):
        for _ in range(int(os.environ["TIMES"])):
            signal.raise_signal(signal.SIGINT)


def warm(inputs):
    yield Step(stage="copy", done=1, total=1, state={})
    found = inputs.start["conv1.weight"].flatten()[:8] if inputs.start else torch.zeros(8)
    return {"direction": found, "first": found}


def wrong(what):
    def learn(inputs):
        state = {"x": 1.5} if what == "number" else {}
        yield "no step" if what == "word" else Step(stage="x", done=1, total=1, state=state)
        return {
            "nan": {"direction": torch.full((8,), torch.nan), "first": torch.zeros(8)},
            "short": {"direction": torch.zeros(7), "first": torch.zeros(8)},
            "less": {"direction": torch.zeros(8)},
        }.get(what)
    return Recipe(name=what, citation="me", data=(), learn=learn)


def method(name):
    def recipe(name, learn, **more):
        return Recipe(name=name, citation="Mises 1929", data=("demo",), learn=learn, **more)

    return Method(
        name=name, citation="me", takes="interpolated", channels="luma", scales=(2, 3),
        settings={"size": 8}, build=lambda scale, settings: Toy(settings["size"]),
        recipes=(
            recipe("power", power, settings={"iterations": 40, "why": [1, 2.5]}),
            recipe("warm", warm, starts_from="srcnn-9-1-5"),
            *map(wrong, ("nan", "short", "less", "word", "number", "nothing")),
        ),
    )
'''


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path / "toy.py"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("colour", (40, 30, 3)), ("gray", (33, 41))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def base(toy: Path, photos: Path, out: Path) -> list[str]:
    """The command that most tests vary."""
    return ["train", str(toy), "-s", "2", "--data", str(photos), "--out", str(out)]


def run(*arguments: str | Path) -> int:
    return cli.status([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The error line of a command that has to end with status 2."""
    capsys.readouterr()
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("Error: ")
    assert not any(line.startswith("Traceback") for line in lines)
    return lines[-1]


def read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with safetensors.safe_open(path, "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def assert_same_bits(one: Path, other: Path) -> None:
    a, b = read(one)[1], read(other)[1]
    assert a.keys() == b.keys()
    for key, tensor in a.items():
        assert tensor.numpy().tobytes() == b[key].numpy().tobytes(), key


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


WEIGHTS, CHECKPOINT = "toy-x2-power.safetensors", "toy-x2-power.checkpoint.safetensors"


# What comes out


def test_a_recipe_learns_what_it_should_and_the_weights_can_be_used(
    base: list[str], photos: Path, out: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*base) == 0
    assert names(out) == [WEIGHTS]
    images = luma(toy, photos)
    pixels = np.concatenate([image.numpy()[:, :8] for image in images])
    _, vectors = np.linalg.eigh(np.cov(pixels.T))
    learned = read(out / WEIGHTS)[1]["direction"]
    assert learned.dtype == torch.float32
    assert abs(float(learned.double().numpy() @ vectors[:, -1])) == pytest.approx(1, abs=1e-4)

    place, use = capsys.readouterr().out.splitlines()
    assert place == str(out / WEIGHTS)
    assert use == f"Use them: sisrbench run -m {toy}@{out / WEIGHTS} -d set5 -s 2"
    spec = f"{toy}@{out / WEIGHTS}"
    assert run("upscale", spec, photos / "gray.png", "--out", out) == 0


def test_the_weights_say_how_they_were_made(base: list[str], photos: Path, out: Path) -> None:
    assert run(*base, "--seed", "3", "--threads", "1") == 0
    facts, _ = read(out / WEIGHTS)
    data = datasets.load(str(photos), Progress())
    assert json.loads(facts["settings"]) == {"size": 8}
    assert json.loads(facts["recipe settings"]) == {"iterations": 40, "why": [1, 2.5]}
    assert json.loads(facts["data"]) == [["photos", data.sha256]]
    code = json.loads(facts["code"])
    assert {
        "toy.py",
        "bench/images.py",
        "bench/training/pictures.py",
        "zoo/resample.py",
    } <= code.keys()
    assert "bench/training/descent.py" not in code  # the recipe is no gradient descent
    expected = {
        "method": "toy",
        "scale": "2",
        "recipe": "power",
        "citation": "Mises 1929",
        "seed": "3",
        "start": "[]",
        "threads": "1",
        "torch": torch.__version__,
        "resumed": "0",
    }
    assert {key: facts[key] for key in expected} == expected
    assert facts["began"] <= facts["ended"]
    assert 0 <= float(facts["seconds"]) < 60
    assert 50 < float(facts["peak memory MiB"]) < 50_000
    assert facts["command"].startswith("sisrbench")
    assert {"device", "machine", "commit"} <= facts.keys()


@pytest.mark.parametrize(
    "line", ["import zoo.ensemble", "from zoo import ensemble", "from zoo.ensemble import TURNS"]
)
def test_the_code_that_weights_depend_on_is_followed(toy: Path, line: str) -> None:
    method, _ = zoo.load(str(toy))
    toy.write_text(f"def inside():\n    {line}\n    from zoo.srcnn import SRCNN\n")
    assert {"toy.py", "zoo/ensemble.py", "zoo/srcnn.py"} <= code_of(method.source).keys()


def test_settings_make_other_weights_beside(base: list[str], out: Path) -> None:
    assert run(*base) == 0
    changed = [base[0], base[1] + ":size=5", *base[2:]]
    assert run(*changed) == 0
    assert names(out) == ["toy-size=5-x2-power.safetensors", WEIGHTS]
    assert read(out / "toy-size=5-x2-power.safetensors")[1]["direction"].shape == (5,)


def test_the_same_seed_gives_the_same_bits_and_another_others(
    base: list[str], tmp_path: Path
) -> None:
    places = [tmp_path / name for name in "abc"]
    for place, seed in zip(places, (1, 1, 2), strict=True):
        assert run(*base, "--seed", str(seed), "--out", place) == 0
    assert_same_bits(places[0] / WEIGHTS, places[1] / WEIGHTS)
    one, two = (read(place / WEIGHTS)[1]["first"] for place in (places[0], places[2]))
    assert not torch.equal(one, two)


def test_the_recipe_says_which_data_unless_told(base: list[str], toy: Path, out: Path) -> None:
    assert run("train", toy, "-s", 2, "--out", out) == 0
    assert [name for name, _ in json.loads(read(out / WEIGHTS)[0]["data"])] == ["demo"]
    assert run(*base, "--data", "demo", "--anew") == 0
    found = [name for name, _ in json.loads(read(out / WEIGHTS)[0]["data"])]
    assert found == ["photos", "demo"]


def luma(toy: Path, folder: Path) -> list[torch.Tensor]:
    """What a recipe of the toy is given of a folder."""
    method, _ = zoo.load(str(toy))
    training = recipes.Training(
        method=method,
        scale=2,
        recipe=recipes.recipe_of(method, ""),
        data=(datasets.load(str(folder), Progress()),),
    )
    return pictures.luma_of(pictures.pictures_of(training, TrainingProgress(quiet=True)))


def test_images_become_luma_in_whole_levels(toy: Path, photos: Path, tmp_path: Path) -> None:
    colour, gray = luma(toy, photos)
    pixels = np.asarray(Image.open(photos / "colour.png"))
    assert colour.dtype == gray.dtype == torch.float64
    assert np.array_equal(colour.numpy() * 255, np.floor(rgb2ycbcr(pixels)[..., 0] + 0.5))
    assert np.array_equal(gray.numpy(), np.asarray(Image.open(photos / "gray.png")) / 255)

    (tmp_path / "one").mkdir()
    Image.new("RGB", (4, 4), (10, 20, 30)).save(tmp_path / "one" / "flat.png")
    [flat] = luma(toy, tmp_path / "one")
    # 16 + (65.481 * 10 + 128.553 * 20 + 24.966 * 30) / 255 = 31.588
    assert flat.unique().tolist() == [32 / 255]


def test_it_works_in_a_thread_that_gets_no_signals(base: list[str], out: Path) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(run(*base)))
    thread.start()
    thread.join()
    assert found == [0]
    assert names(out) == [WEIGHTS]


# Stopped and continued


def kill_in_a_step(command: list[str], tmp_path: Path, step: int) -> None:
    """Start the command, and kill -9 it in the middle of a step."""
    asleep = tmp_path / "asleep"
    with subprocess.Popen(
        [sys.executable, "-c", f"from bench.cli import main; main.status({command!r})"],
        env=os.environ | {"SLEEP_AT": str(step), "ASLEEP": str(asleep)},
    ) as process:
        while not asleep.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("every", "at", "done"), [("0", "power, 16 of 40", 16), ("1000", "mean, 1 of 1", 0)]
)
def test_after_kill_9_the_same_command_continues_to_the_same_bits(
    base: list[str],
    tmp_path: Path,
    out: Path,
    every: str,
    at: str,
    done: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = [*base, "--checkpoint", every]
    kill_in_a_step(command, tmp_path, 17)
    assert names(out) == [CHECKPOINT]
    (out / f".{CHECKPOINT}.x7wq").write_bytes(b"killed while it was written")
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAIL_AT", str(done))  # computes no step again
        assert run(*command) == 0
    assert f"toy-x2-power continues at: {at}\n" in capfd.readouterr().err
    assert names(out) == [WEIGHTS]
    assert read(out / WEIGHTS)[0]["resumed"] == "1"
    assert run(*base, "--out", tmp_path / "whole") == 0
    assert_same_bits(out / WEIGHTS, tmp_path / "whole" / WEIGHTS)


def interrupt(
    command: list[str], step: int, times: int, capfd: pytest.CaptureFixture[str]
) -> list[str]:
    """What a command says that Ctrl-C was pressed on in the middle of a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERRUPT_AT", str(step))
        patch.setenv("TIMES", str(times))
        assert run(*command) == 130
    lines = capfd.readouterr().err.splitlines()
    assert "Stopping when this step is done; Ctrl-C again stops at once." in lines
    assert lines[-1] == "Interrupted; finished work is stored, the same command continues."
    return lines


@pytest.mark.parametrize(("times", "at"), [(1, "power, 17 of 40"), (2, "mean, 1 of 1")])
def test_ctrl_c_lets_the_step_end_and_keeps_it_unless_pressed_twice(
    base: list[str],
    tmp_path: Path,
    out: Path,
    times: int,
    at: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert not any("--anew" in line for line in interrupt(base, 17, times, capfd))
    assert signal.getsignal(signal.SIGINT) == before
    assert run(*base) == 0
    assert f"continues at: {at}\n" in capfd.readouterr().err
    assert run(*base, "--out", tmp_path / "whole") == 0
    assert_same_bits(out / WEIGHTS, tmp_path / "whole" / WEIGHTS)


def test_who_started_anew_is_told_how_to_go_on(
    base: list[str], out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = interrupt([*base, "--anew"], 17, 1, capfd)
    assert "Leave out --anew to continue from here." in lines
    assert run(*base) == 0
    assert "continues at: power, 17 of 40\n" in capfd.readouterr().err


@pytest.fixture
def begun(
    base: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """A checkpoint that a recipe which failed left behind."""
    with monkeypatch.context() as patch:
        patch.setenv("FAIL_AT", "5")
        message = refused(capsys, *base, "--checkpoint", "0")
    assert "recipe power of toy raised ValueError: as asked" in message
    assert names(out) == [CHECKPOINT]
    return out / CHECKPOINT


def test_a_full_disk_leaves_the_checkpoint_before(
    base: list[str],
    begun: Path,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = begun.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = refused(capsys, *base)
    assert "No space left on device" in message
    assert names(out) == [CHECKPOINT]
    assert begun.read_bytes() == before
    assert run(*base) == 0
    assert "continues at: power, 4 of 40" in capsys.readouterr().err
    assert run(*base, "--out", tmp_path / "whole") == 0
    assert_same_bits(out / WEIGHTS, tmp_path / "whole" / WEIGHTS)


def _another_seed(base: list[str]) -> list[str]:
    return [*base, "--seed", "1"]


def _other_data(base: list[str]) -> list[str]:
    return [*base, "--data", "demo"]


def _an_edited_image(base: list[str]) -> list[str]:
    Image.new("L", (20, 20), 9).save(Path(base[5]) / "gray.png")
    return base


def _edited_code(base: list[str]) -> list[str]:
    Path(base[1]).write_text(TOY.replace("/= v.norm()", "/= v.abs().max()"))
    return base


def _another_setting(base: list[str]) -> list[str]:
    Path(base[1]).write_text(TOY.replace('"iterations": 40', '"iterations": 50'))
    return base


CHANGES = [
    (_another_seed, r"made with seed 0, not 1;"),
    (_other_data, r"made with data photos \w{12}, not photos \w{12} demo \w{12};"),
    (_an_edited_image, r"made with data photos \w{12}, not photos \w{12};"),
    (_edited_code, r"made with code toy\.py \w{12}, not \w{12};"),
    (_another_setting, r"made with recipe settings iterations 40, not 50; code toy\.py"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_checkpoint_of_something_else_is_refused(
    base: list[str],
    begun: Path,
    out: Path,
    change: Callable[[list[str]], list[str]],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = begun.read_bytes()
    other = change(base)
    message = refused(capsys, *other)
    assert re.search(said, message), message
    assert "--anew" in message
    assert begun.read_bytes() == before
    assert run(*other, "--anew") == 0
    assert "continues" not in capsys.readouterr().err
    assert names(out) == [WEIGHTS]


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "foreign"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_damaged_file_is_refused(
    base: list[str],
    begun: Path,
    out: Path,
    harm: str,
    finished: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if finished:
        assert run(*base) == 0
    path = out / WEIGHTS if finished else begun
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    foreign = safetensors.torch.save({"x": torch.zeros(3)}, {"seed": "0"})
    path.write_bytes(
        {"cut": content[:-3], "flipped": flipped, "empty": b"", "foreign": foreign}[harm]
    )
    message = refused(capsys, *base)
    assert "is damaged" in message
    assert "--anew" in message
    assert run(*base, "--anew") == 0
    assert names(out) == [WEIGHTS]


def test_what_is_finished_is_not_computed_again(
    base: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*base) == 0
    told = capsys.readouterr().out
    before = (out / WEIGHTS).read_bytes()
    monkeypatch.setenv("FAIL_AT", "1")
    assert run(*base) == 0
    found = capsys.readouterr()
    assert found.out == told
    assert found.err == "Nothing to compute: these weights are learned already.\n"
    assert (out / WEIGHTS).read_bytes() == before

    message = refused(capsys, *base, "--seed", "1")
    assert "made with seed 0, not 1" in message
    assert "--anew" in message
    refused(capsys, *base, "--seed", "1", "--anew")  # fails, and leaves what was there
    assert (out / WEIGHTS).read_bytes() == before
    monkeypatch.delenv("FAIL_AT")
    assert run(*base, "--seed", "1") == 0  # goes on
    assert "continues at: mean, 1 of 1" in capsys.readouterr().err
    assert read(out / WEIGHTS)[0]["seed"] == "1"
    assert names(out) == [WEIGHTS]


# Weights to start from


def test_a_recipe_starts_from_the_weights_that_it_names(
    base: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm = [*base, "--recipe", "warm"]
    network = zoo.load("srcnn-9-1-5")[0].build(2, {"n1": 64, "n2": 32})
    state = network.state_dict()
    file = tmp_path / "srcnn.safetensors"
    safetensors.torch.save_file(state, file)
    first = state["conv1.weight"].flatten()[:8]
    for spec in (str(file), f"srcnn-9-1-5@{file}"):
        assert run(*warm, "--from", spec, "--anew") == 0
        facts, learned = read(out / "toy-x2-warm.safetensors")
        assert torch.equal(learned["direction"], first)
        assert json.loads(facts["start"])[0] == "srcnn-9-1-5@srcnn.safetensors"
    message = refused(capsys, *warm)
    assert re.search(r"start srcnn-9-1-5@srcnn\.safetensors \w{12}, not none", message)
    assert run(*warm, "--from", "srcnn-9-1-5@none", "--anew") == 0
    assert json.loads(read(out / "toy-x2-warm.safetensors")[0]["start"])[1] == "seed 0"

    torch.save({"params": state, "params_ema": network.state_dict()}, tmp_path / "both.pth")
    assert run(*warm, "--from", f"{tmp_path / 'both.pth'}#params", "--anew") == 0
    facts, learned = read(out / "toy-x2-warm.safetensors")
    assert torch.equal(learned["direction"], first)
    assert json.loads(facts["start"])[0] == "srcnn-9-1-5@both.pth#params"

    safetensors.torch.save_file({"conv1.weight": torch.zeros(3)}, file)
    assert "does not fit srcnn-9-1-5" in refused(capsys, *warm, "--from", file, "--anew")


@pytest.mark.parametrize(
    ("recipe", "start", "said"),
    [
        ("power", "srcnn-9-1-5", "recipe power learns everything; leave out --from srcnn-9-1-5"),
        ("warm", "espcn@none", "starts from srcnn-9-1-5, not from espcn; give --from srcnn-9-1-5["),
        ("warm", "srcnn-9-1-5+@none", "not from srcnn-9-1-5+"),
        ("warm", "srcn-9-1-5", "no method 'srcn-9-1-5'; did you mean"),
        ("warm", "srcnn-9-1-5@nowhere", "has no weights 'nowhere'"),
        ("warm", "nowhere.safetensors", "has no weights 'nowhere.safetensors'"),
        ("warm", "", "--from '' names no weights"),
    ],
)
def test_other_weights_to_start_from_are_refused(
    base: list[str],
    out: Path,
    recipe: str,
    start: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in refused(capsys, *base, "--recipe", recipe, "--from", start)
    assert not out.exists()


# What cannot be used


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("nan", "direction holds NaN or infinity in float32"),
        ("short", "direction is (7,), expected (8,)"),
        ("less", "missing first"),
        ("word", "recipe word of toy yielded a str; expected a Step"),
        ("number", "recipe number of toy keeps more than tensors in a step's state"),
        ("nothing", "recipe nothing of toy returned a NoneType; expected a state dict"),
    ],
)
def test_what_a_recipe_gives_is_held_to_the_contract(
    base: list[str], out: Path, recipe: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *base, "--recipe", recipe)
    assert not (out / f"toy-x2-{recipe}.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bicubic", "-s", 2), "bicubic has no recipe"),
        (("{toy}", "-s", 2, "--recipe", "powre"), "no recipe of toy 'powre'; did you mean 'power'"),
        (("{toy}", "-s", 4), "toy has no x4; choose from: x2, x3"),
        (("{toy}", "-s", 1), "1 is not in the range"),
        (("{toy}",), "Missing option '-s'"),
        (("{toy}@none", "-s", 2), "leave out @none, or give --from"),
        (("{toy}+", "-s", 2), "without the +"),
        (("{toy}", "-s", 2, "--data", "st5"), "no dataset 'st5'"),
        (("{toy}", "-s", 2, "--data", ""), "'' names no dataset"),
        (("{toy}", "-s", 2, "--device", "gpu"), "no device 'gpu'"),
        (("{toy}", "-s", 2, "--seed", -1), "-1 is not in the range"),
        (("{toy}", "-s", 2, "--threads", 10_000), "10000 threads are too many"),
        (("{toy}", "-s", 2, "--recipe", "nan"), "recipe nan names no images; give --data"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(
    toy: Path,
    out: Path,
    arguments: tuple[str | int, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = [str(argument).replace("{toy}", str(toy)) for argument in arguments]
    assert said in refused(capsys, "train", *asked, "--out", out)
    assert not out.exists()


def test_images_that_cannot_be_used_are_named(
    base: list[str], photos: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (20, 1)).save(photos / "thin.png")
    message = refused(capsys, *base)
    assert f"{photos / 'thin.png'}: 20x1 px leave nothing at x2" in message
    (photos / "thin.png").write_bytes((photos / "gray.png").read_bytes()[:-40])
    assert f"{photos / 'thin.png'} cannot be read" in refused(capsys, *base)
    (tmp_path / "empty").mkdir()
    assert "empty holds no images" in refused(capsys, *base, "--data", tmp_path / "empty")
    assert not out.exists()


def test_an_out_that_is_a_file_is_refused(
    base: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.write_text("mine")
    refused(capsys, *base)
    assert out.read_text() == "mine"


def test_a_recipe_that_finds_fault_says_it_itself(
    base: list[str], toy: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raising = "from zoo.errors import InputError; raise InputError('all images are flat')"
    toy.write_text(TOY.replace("mean = saved", f"{raising}\n    mean = saved"))
    assert refused(capsys, *base) == "Error: all images are flat"
    assert not out.exists()


# What people see


def test_a_line_a_stage_is_shown(base: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*base) == 0
    mixed, *lines = capsys.readouterr().err.splitlines()
    assert mixed == "1 of 2 images are grayscale, the others are in colour"
    assert len(lines) == 2
    assert re.fullmatch(r"mean: 1 of 1 \(\d+\.\d s\)", lines[0])
    assert re.fullmatch(r"power: 40 of 40, sum -?\d\.\d{3} \(\d+\.\d s\)", lines[1])


def test_long_stages_say_how_far_they_are(
    base: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TrainingProgress, "EVERY", 0.0)
    assert run(*base) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines[2:-1]] == [
        f"power: {done} of 40" for done in range(1, 40)
    ]


def test_a_terminal_shows_the_stage_at_work(
    base: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(TrainingProgress, "EVERY", 0.0)
    assert run(*base) == 0
    shown = capsys.readouterr().err
    assert "\x1b[" in shown
    assert re.search(r"power: 40 of 40, sum -?\d", shown)
    assert "power: 1 of 40" not in shown  # the bar says it


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--help") == 0
    shown = capsys.readouterr().out
    assert "sisrbench train a-plus -s 3 --from k-svd@timofte" in shown
