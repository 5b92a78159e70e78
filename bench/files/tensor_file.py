"""Files of tensors with facts about their making: learned weights and checkpoints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from zoo.errors import InputError, spelled


def file_of(state: Mapping[str, Tensor], facts: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file with tensors, facts, and a hash of the tensors.

    Args:
        state: name to tensor, of any shape, dtype and device.
        facts: name to text.
    """
    own = {  # copies, because safetensors refuses tensors that share memory
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
    }
    # A path in a fact may hold bytes that are no UTF-8.
    texts = {key: spelled(text) for key, text in facts.items()}
    return safetensors.torch.save(own, {**texts, "tensors": _sha256_of(own)})


def _sha256_of(state: dict[str, Tensor]) -> str:
    """SHA-256, in hex, of names, shapes, dtypes and values of tensors of any shape."""
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()


def facts_and_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Facts and tensors of a file that `file_of` made, in the shapes and dtypes that were saved.

    Raises:
        InputError: the file is damaged, or was not made by `file_of`.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        whole = facts.get("tensors") == _sha256_of(state)
    except Exception:  # for a damaged file, the reader may raise almost any exception
        whole = False
    if not whole:
        raise InputError(
            f"{path} is damaged, or was not written by sisrbench train; give another --out, or "
            "--anew to start again in its place"
        )
    return facts, state


def differences(asked: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """The facts of a file that differ from the requested facts, in words.

    Args:
        asked: the requested facts; only these are compared.
        there: the facts in the file.
    """
    found = []
    for key, text in asked.items():
        if there.get(key) == text:
            continue
        ours, theirs = _parsed(text), _parsed(there.get(key, ""))
        if isinstance(ours, dict) and isinstance(theirs, dict):
            both = [(f"{key} {k}", theirs.get(k, ""), ours.get(k, "")) for k in {**theirs, **ours}]
        else:
            both = [(key, theirs, ours)]
        # 60 characters each, because a fact may be a long list of images.
        found += [f"{fact} {_short(a)[:60]}, not {_short(b)[:60]}" for fact, a, b in both if a != b]
    return found


def _parsed(text: str) -> Any:
    """The value of a fact written as JSON; a fact in plain words is returned unchanged."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _short(value: Any) -> str:
    """A fact as short text: lists with spaces, a hash by the first 12 digits."""
    if isinstance(value, list):
        return " ".join(map(_short, value)) or "none"
    text = str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text or "none"


def refuse_other(path: Path, asked: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Refuse a file whose facts differ from the requested facts.

    Args:
        path: the file, for the message.
        asked: the requested facts.
        there: the facts in the file.

    Raises:
        InputError: a fact differs; the message has the first three differences.
    """
    found = differences(asked, there)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise InputError(
            f"{path} was made with {'; '.join(found[:3])}{more}; give another --out, or --anew to "
            "start again in its place"
        )
