"""Kills run, reproduce, train, fetch and report at random moments, and checks what is left.

    python tests/attack/kills.py --seed 1 --count 60
"""  # fmt: skip

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from pathlib import Path

import safetensors
from common import Attack, half_written, main, run, stored, written

IMAGES = "demo"
COMMANDS: dict[str, list[str]] = {
    "run": ["run", "-m", "nearest", "-m", "bicubic", "-m", "espcn", "-m", "./mine.py", "-d", IMAGES,
            "-s", "2"],
    "reproduce": ["reproduce", "carn2018_costs"],
    "train": ["train", "espcn", "-s", "2", "--data", IMAGES, "--updates", "300", "--validate",
              "none", "--checkpoint", "0.2"],
    "fetch": ["fetch", IMAGES, "set5", "srcnn-9-1-5"],
    "report": ["report"],
}  # fmt: skip
MINE = """
from torch import nn
from zoo.method import Method

NAMES = ("mine",)

def method(name):
    return Method(name=name, citation="", takes="interpolated", channels="any",
                  build=lambda scale, settings: nn.Identity())
"""


def attack(found: Attack, count: int) -> None:
    """Kill each command in turn; the sums of a whole run of each are the reference."""
    names = list(COMMANDS)
    if run(COMMANDS["fetch"], found.folder).status:
        print("without a network or SISRBENCH_MIRROR: fetch is left out")
        names.remove("fetch")
    seconds, whole = {}, {}
    for name in names:
        place = _fresh(found, name, "whole")
        ended = _run(name, place)
        found.check(ended.status == 0, f"{name} without a kill: {ended.status} {ended.text[-300:]}")
        seconds[name], whole[name] = ended.seconds, _state(name, place)
    print("seconds of a whole run:", {name: round(took, 1) for name, took in seconds.items()})
    places = {name: _fresh(found, name, "killed") for name in names}
    had: dict[str, dict[str, object]] = {name: {} for name in names}
    finished = dict.fromkeys(names, 0)
    for trial in range(count):
        name = names[trial % len(names)]
        place, number = places[name], found.random.choice((signal.SIGKILL, signal.SIGTERM))
        moment = found.random.uniform(0.2, 1.05) * seconds[name]
        group = found.random.random() < 0.5
        label = f"{name}, {number.name} after {moment:.2f} s, {'group' if group else 'process'}"
        ended = _run(name, place, kill_after=(moment, number), group=group)
        found.tried += 1
        had[name] = _check(found, name, label, place, ended, had[name])
        if ended.status == 0:
            finished[name] += 1
            found.check(_state(name, place) == whole[name], f"{label}: other results than whole")
            places[name], had[name] = _fresh(found, name, f"killed{trial}"), {}
    for name in names:
        ended = _run(name, places[name])
        found.check(ended.status == 0, f"{name} does not continue: {ended.text[-300:]}")
        found.check(_state(name, places[name]) == whole[name], f"{name}: other results at the end")
        left = [p.name for p in places[name].rglob(".*") if "tensorboard" not in p.name]
        found.check(not left, f"{name}: leftovers after the same command: {left[:4]}")
    print("completed in spite of the kill:", finished)


def _fresh(found: Attack, name: str, label: str) -> Path:
    place = found.folder / f"{name}-{label}"
    place.mkdir()
    (place / "mine.py").write_text(MINE)
    if name == "report":
        shutil.copytree(found.folder / "run-whole" / "out", place / "out")
        for file in ("index.html", "results.csv"):
            (place / "out" / file).unlink()
    return place


def _run(name: str, place: Path, **options):
    variables = {"SISRBENCH_CACHE": str(place / "cache")} if name == "fetch" else {}
    out = [] if name == "fetch" else ["--out", "out"]
    return run([*COMMANDS[name], *out], place, environment=variables, **options)


def _state(name: str, place: Path) -> object:
    """What the command made: values by cell, tensors' hash, or file names with sizes."""
    if name == "fetch":
        files = (path for path in (place / "cache").rglob("*") if path.is_file())
        return sorted((str(p.relative_to(place)), p.stat().st_size) for p in files)
    if name == "train":
        (weights,) = (place / "out").glob("*.safetensors")
        with safetensors.safe_open(weights, "pt") as file:
            return file.metadata()["tensors"]
    return written(place / "out"), stored(place / "out")


def _check(found, name, label, place, ended, had):
    """Check what is left; returns what was there, which the next trial must find again."""
    expected = (0, -signal.SIGKILL, -signal.SIGTERM, 143)
    found.check(ended.status in expected, f"{label}: status {ended.status}: {ended.text[-300:]}")
    found.check("Traceback" not in ended.text, f"{label}: {ended.text[-400:]}")
    if ended.status == 143:
        found.check("Terminated; " in ended.text, f"{label}: says {ended.text[-200:]!r}")
    out = place / "out"
    for line in half_written(out):
        found.fault(f"{label}: {line}")
    if name == "train":
        for path in out.glob("*.safetensors"):
            try:
                with safetensors.safe_open(path, "pt") as file:
                    json.dumps(file.metadata())
            except Exception as error:
                found.fault(f"{label}: {path.name}: {error}")
        return {}
    if name == "fetch" or not (out / "results.sqlite").is_file():
        return {}
    try:
        now = stored(out)
    except sqlite3.Error as error:
        found.fault(f"{label}: the store does not open: {error}")
        return had
    lost = [cell for cell in had if cell not in now]
    found.check(not lost, f"{label}: {len(lost)} results lost, first {lost[:1]}")
    double = [cell for cell, values in now.items() if len(values) > 1]
    found.check(not double, f"{label}: {len(double)} results doubled, first {double[:1]}")
    return now


if __name__ == "__main__":
    main("kills", attack, 60)
