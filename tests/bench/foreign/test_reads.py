from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WATCHED = """
import sys
from pathlib import Path
from bench.foreign import reads

reads.watch()
sys.path.insert(0, sys.argv[1])
import others
others.read()
from bench.files import whole
whole.sha256_of(Path(sys.argv[1]) / "ours.txt")
print(sorted(Path(name).name for name in reads.hashes()))
"""
OTHERS = """
import json
from pathlib import Path
import numpy as np

HERE = Path(__file__).parent


def read():
    HERE.joinpath("text.txt").read_text()
    json.load(HERE.joinpath("settings.json").open())
    np.load(HERE / "table.npy")
    HERE.joinpath("log.txt").open("w").write("written")
"""


def test_files_that_the_code_of_others_reads_are_known(tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "others.py").write_text(OTHERS)
    for name in ("text.txt", "settings.json", "ours.txt", "unread.txt"):
        (tmp_path / name).write_text("{}")
    np.save(tmp_path / "table.npy", np.zeros(3))
    told = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "['settings.json', 'table.npy', 'text.txt']"


RELATIVE = """
import importlib, os, sys
from pathlib import Path
import zoo
from bench.foreign import reads

reads.watch()
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
zoo.import_file(Path("others.py"))[0].read()
print(sorted(Path(name).name for name in reads.hashes()), reads.imported())
"""


def test_what_a_file_named_by_a_relative_path_reads_and_imports_is_known(tmp_path: Path) -> None:
    (tmp_path / "others.py").write_text(
        "import importlib\n"
        "def read():\n"
        "    open('text.txt').read()\n"
        "    importlib.import_module('pack' + 'age.inner')\n"
    )
    (tmp_path / "text.txt").touch()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").touch()
    told = subprocess.run(
        [sys.executable, "-c", RELATIVE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "['text.txt'] ['package']"
