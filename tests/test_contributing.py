"""The worked examples of CONTRIBUTING.md: each one new file, no edit elsewhere, and it works."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("zoo", "bench", "reports")
EXAMPLE = re.compile(
    r"^`([\w/.]+)`:\n\n```(?:python|csv|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def _examples() -> dict[str, str]:
    return dict(EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


def _hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.suffix in (".py", ".csv", ".toml", ".j2")
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the code with every example added."""
    root = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, root / package, ignore=ignored)
    before = _hashes(root)
    for name, text in _examples().items():
        assert not (root / name).exists()
        (root / name).write_text(text, encoding="utf-8")
    assert {k: v for k, v in _hashes(root).items() if k in before} == before
    return root


def _command(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from bench.cli import main; sys.exit(main.status({list(arguments)!r}))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def out(checkout: Path) -> Path:
    """What a run of the added method on the added dataset leaves behind."""
    methods = ("-m", "sharpened", "-m", "bicubic")
    done = _command(checkout, "run", *methods, "-d", "textures", "-s", "2", "--out", "out")
    assert done.returncode == 0, done.stderr
    return checkout / "out"


def test_there_is_an_example_of_everything() -> None:
    folders = {str(Path(name).parent) for name in _examples()}
    assert folders == {
        "zoo",
        "bench/datasets",
        "bench/experiments",
        "bench/published",
        "bench/metrics",
        "bench/costs",
        "reports/sections",
    }


def test_the_added_method_metric_and_cost_are_measured_on_the_added_dataset(out: Path) -> None:
    with (out / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "sharpened"]
    found = {(row["dataset"], row["quantity"]) for row in rows}
    assert {("textures", "psnr_y"), ("textures", "mae_y"), ("", "convolutions")} <= found


def test_what_the_added_method_multiplies_is_counted(out: Path) -> None:
    with (out / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "sharpened"]
    counted = {row["quantity"]: row["value"] for row in rows if "multiplies" in row["quantity"]}
    assert float(counted["multiplies_per_input_px"]) == 0
    assert float(counted["elementwise_multiplies_per_input_px"]) == pytest.approx(4 / 1e6)  # x2


def test_the_added_section_is_on_the_page(out: Path) -> None:
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "Hardest images" in page
    assert "<li>sharpened: " in page


def test_the_added_table_gets_its_verdicts(checkout: Path) -> None:
    done = _command(checkout, "reproduce", "doe2026_table1", "--out", "verdicts", "--strict")
    assert done.returncode == 1, done.stderr
    assert re.search(r"doe2026_table1\s+1\s+1\s+0\s+0", done.stdout)
    assert "deviates: Ours demo x2 average psnr_y 99.99" in done.stdout


def test_the_added_experiment_is_trained_and_judged(checkout: Path) -> None:
    done = _command(checkout, "reproduce", "doe2026_rate", "--threads", "1", "--out", "tried")
    assert done.returncode == 0, done.stderr
    assert re.search(r"reproduced: Ten updates from interpolation .*: \+\d", done.stdout)
    assert "10 updates of slow, 10 updates of fast; slim" in done.stdout
