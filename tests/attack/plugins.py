"""Runs methods that change what others compute with, each beside ESPCN on the demo photographs.

ESPCN's numbers must be those of a run without the method, nothing of a method that was refused may
be in the store, and the status must say so.

    python tests/attack/plugins.py --seed 1 --count 30
"""

from __future__ import annotations

from pathlib import Path

from common import Attack, main, run, stored, written

HEAD = """
import atexit, builtins, ctypes, decimal, math, os, signal, sys, threading, time
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from zoo.method import Method

NAMES = ("mine",)
{top}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}
        return x

def build(scale, settings):
    {build}
    return Net()

def method(name):
    return Method(name=name, citation="", takes="interpolated", channels="any", build=build)
"""
CASES: dict[str, dict[str, str]] = {
    "default dtype": {"top": "torch.set_default_dtype(torch.bfloat16)"},
    "default dtype in forward": {"forward": "torch.set_default_dtype(torch.float64)"},
    "default device": {"top": "torch.set_default_device('meta')"},
    "fp32_precision": {"top": "torch.backends.fp32_precision = 'bf16'"},
    "F.conv2d": {"top": "real = F.conv2d\nF.conv2d = lambda *a, **k: real(*a, **k) * 1.01"},
    "torch.Tensor.clamp": {"forward": "torch.Tensor.clamp = lambda self, *a, **k: self"},
    "torch.Tensor.square_": {"top": "torch.Tensor.square_ = lambda self: self * 0.5"},
    "math.log10": {"top": "real = math.log10\nmath.log10 = lambda x: real(x) * 1.1"},
    "round_half_up": {"top": "import zoo.resample\nzoo.resample.round_half_up = lambda x: x"},
    "round_half_up's code": {
        "forward": "from zoo.resample import round_half_up as r; "
        "r.__code__ = (lambda x: x).__code__"
    },
    "evaluate.round_half_up": {
        "build": "import bench.evaluate\n    bench.evaluate.round_half_up = lambda x: x"
    },
    "time.perf_counter": {"top": "time.perf_counter = lambda: 0.0"},
    "builtins.round": {"top": "builtins.round = lambda x, n=0: 0"},
    "builtins.float": {"top": "real = float\nbuiltins.float = lambda x=0: real(x) + 1"},
    "a protocol in place": {
        "top": "from bench.protocol import PROTOCOLS\n"
        "object.__setattr__(next(iter(PROTOCOLS.values())), 'round_sr', False)"
    },
    "numpy's errstate": {"top": "np.seterr(all='raise')"},
    "numpy's mean": {"top": "np.mean = lambda *a, **k: 0.0"},
    "number of threads": {"top": "torch.set_num_threads(7)"},
    "deterministic algorithms": {"top": "torch.use_deterministic_algorithms(True)"},
    "autocast": {"top": "torch.set_autocast_enabled('cpu', True)"},
    "environment": {"top": "os.environ['OMP_NUM_THREADS'] = '7'"},
    "working folder": {"top": "os.chdir('/')"},
    "sys.path": {"top": "sys.path.insert(0, '/tmp')"},
    "signal handlers": {"top": "signal.signal(signal.SIGTERM, signal.SIG_IGN)"},
    "decimal context": {"top": "decimal.getcontext().prec = 3"},
    "flushing denormals": {"top": "torch.set_flush_denormal(True)"},
    "weights of ESPCN's class": {
        "top": "import zoo.espcn as e\nfor c in list(vars(e).values()):\n"
        "    if isinstance(c, type) and issubclass(c, nn.Module):\n"
        "        c.forward = lambda self, x: x * 0"
    },
    "global forward hook": {
        "top": "nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0.9)"
    },
    "sys.exit at import": {"top": "sys.exit(0)"},
    "sys.exit in build": {"build": "sys.exit(0)"},
    "sys.exit in forward": {"forward": "sys.exit(0)"},
    "os._exit at import": {"top": "os._exit(0)"},
    "os._exit in forward": {"forward": "os._exit(0)"},
    "a segmentation fault": {"forward": "ctypes.string_at(0)"},
    "abort": {"top": "os.abort()"},
    "a flood of output": {"top": "for i in range(200000): print('\\x1b[2J' * 9)"},
    "atexit": {"top": "atexit.register(lambda: os._exit(0))"},
    "a thread left behind": {"top": "threading.Thread(target=lambda: time.sleep(10**6)).start()"},
    "a process left behind": {"top": "os.fork() or time.sleep(20) or os._exit(0)"},
    "an input changed in place": {"forward": "x.mul_(0.5)"},
    "threads in forward": {"forward": "torch.set_num_threads(7)"},
    "numpy's errstate in forward": {"forward": "np.seterr(all='raise')"},
    "grad mode": {"top": "torch.set_grad_enabled(False)"},
    "standard streams": {"top": "sys.stdout = sys.stderr = open(os.devnull, 'w')"},
    "KeyboardInterrupt": {"forward": "raise KeyboardInterrupt"},
    "Tensor.__torch_function__": {
        "top": "from torch.overrides import TorchFunctionMode\n"
        "class Mode(TorchFunctionMode):\n"
        "    def __torch_function__(self, f, types, args=(), kwargs=None):\n"
        "        out = f(*args, **(kwargs or {}))\n"
        "        return out * 1.01 if f is F.conv2d else out\n"
        "Mode().__enter__()"
    },
}
"""Name of the change to the parts of the method's file."""
MAY_BE_MEASURED = {
    "a thread left behind", "a process left behind", "an input changed in place", "atexit",
    "a flood of output", "grad mode", "weights of ESPCN's class",
}  # fmt: skip
"""Changes that reach no number of others, so a number of the method is right."""


def attack(found: Attack, count: int) -> None:
    """Run each case; the reference is ESPCN alone."""
    ended, alone = _measured(found, "alone", None)
    found.check(ended.status == 0 and bool(alone), f"ESPCN alone: {ended.text[-300:]}")
    names = list(CASES)
    found.random.shuffle(names)
    for name in names[:count]:
        ended, values = _measured(found, name, CASES[name])
        found.tried += 1
        place = found.folder / name.replace("/", "-")
        mine = [cell for cell in stored(place / "out") if cell[0] == "mine"]
        if values != alone:
            found.fault(f"{name}: ESPCN moved or is missing: {ended.text[-300:]}")
        fault = ended.fault()
        found.check(not fault, f"{name}: {fault}")
        refused = ended.status == 1 and "not measured: " in ended.text
        if name not in MAY_BE_MEASURED:
            found.check(refused, f"{name}: status {ended.status}, not refused")
            found.check(not mine, f"{name}: {len(mine)} results under foreign state are stored")
        elif not refused:
            found.check(ended.status == 0, f"{name}: status {ended.status}")
        said = [line for line in ended.text.splitlines() if line.startswith("not measured: ")]
        print(f"{name}: {ended.status}, {ended.seconds:.0f} s, {said[:1]}"[:260], flush=True)


def _measured(found: Attack, name: str, parts: dict[str, str] | None):
    """How the command ended, and ESPCN's value of every cell in the store and in results.csv."""
    place = found.folder / name.replace("/", "-")
    place.mkdir()
    arguments: list[str | Path] = ["run", "-m", "espcn", "-d", "demo", "-s", "2"]
    if parts is not None:
        usual = dict.fromkeys(("top", "init", "forward", "build"), "pass")
        (place / "mine.py").write_text(HEAD.format(**(usual | parts)))
        arguments[1:1] = ["-m", "./mine.py"]
    ended = run([*arguments, "--metric", "psnr", "--out", "out"], place)
    if not (place / "out" / "results.csv").is_file():
        return ended, {}
    kept = {cell: values for cell, values in stored(place / "out").items() if cell[0] == "espcn"}
    shown = {cell: value for cell, value in written(place / "out").items() if cell[0] == "espcn"}
    return ended, {"store": kept, "table": shown}


if __name__ == "__main__":
    main("plug-ins", attack, len(CASES))
