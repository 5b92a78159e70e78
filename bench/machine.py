"""What a run ran on: the provenance that is stored beside its Results."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch

from bench.weights import SEED
from zoo.errors import InputError

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # from glibc's malloc.h
_LIBRARIES = ("scikit-image", "scipy", "pandas", "pillow")


def device(name: str) -> torch.device:
    """The device of that name (`cpu`, `cuda`, `cuda:1`, ...), after a look that it works.

    Raises:
        InputError: it does not exist here, or does not compute in float64.
    """
    try:
        found = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise InputError(
            f"no device {name!r} that computes in float64 on this machine; choose from: "
            f"{', '.join(['cpu', *gpus])}"
        ) from error
    return found


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next tensor, where it can be told to (glibc).

    By default every large tensor is mapped and unmapped, and clearing fresh pages takes longer
    than many a layer's arithmetic: SRCNN 9-1-5 at 1280x720 ran 2.7 times faster without that.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1)):
            mallopt(option, value)


def device_name(used: torch.device) -> str:
    """What the device is called: a processor's or a GPU's model."""
    return torch.cuda.get_device_name(used) if used.type == "cuda" else _processor()


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the checkout that runs, `+` behind it where files differ; '' without one."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def facts(used: torch.device) -> dict[str, str]:
    """Everything about this machine and its software that a number may depend on."""
    driver = str(torch.version.cuda or "") if used.type == "cuda" else ""
    return {
        "machine": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "device": device_name(used),
        "driver": f"CUDA {driver}" if driver else "",
        "threads": str(torch.get_num_threads()),
        "precision": "networks float32, TF32 off, unless a Result's inference says otherwise; "
        "resampling and metrics float64",
        "seed": str(SEED),
        "python": platform.python_version(),
        "sisrbench": version("sisrbench"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        **{library: version(library) for library in _LIBRARIES},
        "commit": _commit(),
    }


def run_id(known: dict[str, str]) -> str:
    """Short hash of the facts: the same machine and software give the same one."""
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
