from __future__ import annotations

import builtins
import decimal
import importlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import zoo.resample
from bench import protocol
from bench.foreign.guard import State


def of_attribute(holder: object, name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(holder, name, value, raising=False)


def of_setting(
    change: Callable[[], object], undo: Callable[[], object]
) -> Callable[[pytest.MonkeyPatch], Callable[[], object]]:
    def apply(_: pytest.MonkeyPatch) -> Callable[[], object]:
        change()
        return undo

    return apply


def swapped_code(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(zoo.resample.round_half_up, "__code__", (lambda values: values).__code__)


def highest() -> None:
    torch.set_float32_matmul_precision("highest")
    for backend in (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul):
        backend.fp32_precision = "none"  # the function above leaves "ieee"


def of_protocol(_: pytest.MonkeyPatch) -> Callable[[], object]:
    rules = protocol.PROTOCOLS["srcnn2014"]
    before = rules.round_sr
    object.__setattr__(rules, "round_sr", not before)
    return lambda: object.__setattr__(rules, "round_sr", before)


CHANGES = {
    "torch.nn.functional.conv2d": of_attribute(functional, "conv2d", lambda *a: a[0]),
    "torch.nn.modules.conv.Conv2d.forward": of_attribute(nn.Conv2d, "forward", lambda self, x: x),
    "torch.Tensor.clamp": of_attribute(torch.Tensor, "clamp", lambda self, *a: self),
    "torch.Tensor.__add__": of_attribute(torch.Tensor, "__add__", lambda self, other: self),
    "torch.relu": of_attribute(torch, "relu", torch.tanh),
    "math.log10": of_attribute(math, "log10", math.log2),
    "numpy.mean": of_attribute(np, "mean", np.median),
    "builtins.round": of_attribute(builtins, "round", lambda x, *a: x),
    "zoo.resample.imresize": of_attribute(zoo.resample, "imresize", lambda *a: a[0]),
    "zoo.resample.sum": of_attribute(zoo.resample, "sum", lambda *a: 0),
    "zoo.resample.round_half_up": swapped_code,
    "time.perf_counter": of_attribute(time, "perf_counter", lambda: 0.0),
    "bench.protocol.PROTOCOLS": of_protocol,
    "bench.protocol.Protocol.border": of_attribute(protocol.Protocol, "border", 0),
    "torch.get_default_dtype()": of_setting(
        lambda: torch.set_default_dtype(torch.bfloat16),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "torch.get_default_device()": of_setting(
        lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)
    ),
    "torch.set_flush_denormal()": of_setting(
        lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)
    ),
    "torch.get_float32_matmul_precision()": of_setting(
        lambda: torch.set_float32_matmul_precision("medium"),
        highest,
    ),
    "torch.are_deterministic_algorithms_enabled()": of_setting(
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "fp32_precision of torch.backends": of_setting(
        lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "bf16"),
        lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "none"),
    ),
    "torch.backends.mkldnn.enabled": of_setting(
        lambda: torch.backends.mkldnn.set_flags(False),
        lambda: torch.backends.mkldnn.set_flags(True),
    ),
    "numpy.geterr()": of_setting(
        lambda: np.seterr(over="raise"), lambda: np.seterr(over="warn")
    ),
    "sys.getrecursionlimit()": of_setting(
        lambda: sys.setrecursionlimit(5000), lambda: sys.setrecursionlimit(1000)
    ),
    "the handler of SIGTERM": of_setting(
        lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    ),
    "the variable HOME": lambda patch: patch.setenv("HOME", "/nowhere"),
    "sys.path": lambda patch: patch.syspath_prepend("/nowhere"),
    "the working folder": lambda patch: patch.chdir("/"),
    "decimal.getcontext()": of_setting(
        lambda: setattr(decimal.getcontext(), "prec", 3),
        lambda: setattr(decimal.getcontext(), "prec", 28),
    ),
    "sys.stderr": lambda patch: patch.setattr(sys, "stderr", sys.stdout),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_process_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.environ.setdefault("HOME", str(Path.home()))
    before = State.now()
    assert before.changes() == []
    with monkeypatch.context() as patch:
        undo = CHANGES[name](patch)
        try:
            found = before.changes()
        finally:
            if undo is not None:
                undo()
    assert name in found
    assert before.changes() == []


def test_what_pytorch_wraps_when_it_is_needed_is_no_change() -> None:
    before = State.now()
    importlib.import_module("torch._dynamo")
    assert before.changes() == []
