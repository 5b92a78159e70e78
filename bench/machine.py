"""The machine: devices, free memory, and the facts that are stored with a run."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch

from bench.protocol import SEED
from zoo.errors import InputError

if sys.platform != "win32":
    import resource

_LIBRARIES = ("scikit-image", "scipy", "pandas", "pillow")


def device(name: str) -> torch.device:
    """The device called `name` (`cpu`, `cuda`, `cuda:1`, ...), after a small test computation.

    Raises:
        InputError: this machine does not have the device, or the device does not compute in
            float64.
    """
    try:
        found = torch.device(name)
        # item() waits for the result; some devices, for example mps, do not have float64.
        torch.zeros(1, dtype=torch.float64, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise InputError(
            f"no device {name!r} that computes in float64 on this machine; choose from: "
            f"{', '.join(['cpu', *gpus])}"
        ) from error
    return found


def refuse_too_many(threads: int) -> None:
    """Refuse a number of threads that is probably a typing error.

    Raises:
        InputError: the number exceeds four threads for each processor core.
    """
    most = 4 * (os.cpu_count() or 1)
    if threads > most:
        raise InputError(f"{threads} threads are too many for this machine; give at most {most}")


def device_name(used: torch.device) -> str:
    """Model of the processor or of the GPU."""
    return torch.cuda.get_device_name(used) if used.type == "cuda" else _processor()


def _processor() -> str:
    """Model of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # on Linux, platform.processor() does not name the model
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Commit of the running checkout, with `+` if files differ from the commit; '' outside git."""
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
    """Facts of the machine and the software that a number may depend on: name to text."""
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


_VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
)
"""Environment variables by which libraries choose other instructions."""


def libraries(used: torch.device, more: Iterable[str] = ()) -> dict[str, str]:
    """The libraries and the instruction set that compute numbers: name to version.

    Args:
        used: the device.
        more: names of other installed libraries that compute.

    Another version or instruction set may sum in another order: SRCNN 9-1-5 moves by 4e-5 dB.
    """
    instructions = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    instructions += [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    found = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": version("pillow"),
        "safetensors": version("safetensors"),
        "scikit-image": version("scikit-image"),
        "scipy": version("scipy"),
        "instructions": " ".join(instructions),
        **{name: version(name) for name in more},
    }
    if used.type == "cuda":
        capability = ".".join(map(str, torch.cuda.get_device_capability(used)))
        found["gpu"] = f"CUDA {torch.version.cuda}, compute capability {capability}"
    return found


def run_id(known: dict[str, str]) -> str:
    """Short hash of the facts, 12 hex digits; equal for the same machine and software."""
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]


SHARE = 0.6
"""Share of free memory that images may take, by the memory counted on the traced graph.

The count leaves out the workspaces of convolutions. On a processor, networks took up to 1.5 times
the counted memory.
"""
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",  # cuDNN and cuBLAS
    "unable to find an engine",  # cuDNN, where no algorithm's workspace fits
    "valid cudnn algorithm",
    "could not create a primitive",  # oneDNN
)


def memory_for_an_image(device: torch.device, workers: int) -> int:
    """Bytes that each image may take by default: a share of the memory that is free now.

    Args:
        device: where images are computed.
        workers: how many images are computed at once.
    """
    return max(int(SHARE * free_memory(device) / workers), 1)


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still take on a device.

    On Linux a control group may allow less memory than the machine has, and elsewhere than on
    Windows a limit of the address space (`ulimit -v`).
    """
    give_back_memory(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    found = [psutil.virtual_memory().available, *_granted(_CGROUPS, _OWN_CGROUP)]
    if sys.platform != "win32":
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            found.append(limit - psutil.Process().memory_info().vms)
    return max(min(found), 0)


def give_back_memory(device: torch.device) -> None:
    """Return freed memory to the system; PyTorch and the C library keep freed memory for reuse."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _granted(root: Path, own: Path) -> list[int]:
    """Bytes left of each memory limit on this process's control group and its parent groups.

    Cached files that were not used lately count as free, because the kernel drops such files when a
    process needs memory.

    Args:
        root: where the control groups of version 2 are mounted.
        own: the file that names this process's control group.
    """
    names = own.read_text().splitlines() if own.is_file() else []
    group = root / next((name[3:].lstrip("/") for name in names if name.startswith("0::")), "")
    left = []
    for folder in (group, *group.parents):
        try:
            most, taken = ((folder / f"memory.{kind}").read_text() for kind in ("max", "current"))
            cached = re.search(r"(?m)^inactive_file (\d+)$", (folder / "memory.stat").read_text())
        except OSError:  # the topmost group, and folders above it, have no such files
            continue
        if most.strip() != "max":
            left.append(int(most) - int(taken) + (int(cached[1]) if cached else 0))
    return left


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, on a GPU or a processor."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Other failed allocations are plain RuntimeErrors, so only the message can tell.
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _OUT_OF_MEMORY)
