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
