"""Files of tensors that say what they were made from: learned weights, and checkpoints."""

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

from zoo.errors import InputError


def file_of(state: Mapping[str, Tensor], facts: Mapping[str, str]) -> bytes:
    """A safetensors file of tensors and facts, to which a hash of the tensors is added."""
    own = {  # none may share memory
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
    }
    return safetensors.torch.save(own, {**facts, "tensors": _sha256_of(own)})


def _sha256_of(state: dict[str, Tensor]) -> str:
    return hashlib.sha256(safetensors.torch.save(state)).hexdigest()


def facts_and_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Facts and tensors of a file that `file_of` made.

    Raises:
        InputError: it is damaged, or another's.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        whole = facts.get("tensors") == _sha256_of(state)
    except Exception:  # a damaged file makes the reader raise nearly anything
        whole = False
    if not whole:
        raise InputError(
            f"{path} is damaged, or was not written by sisrbench train; give another --out, or "
            "--anew to start again in its place"
        )
    return facts, state


def differences(asked: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What a file was made from that is not what is asked for, in words."""
    found = []
    for key, text in asked.items():
        if there.get(key) == text:
            continue
        ours, theirs = _parsed(text), _parsed(there.get(key, ""))
        if isinstance(ours, dict) and isinstance(theirs, dict):
            both = [(f"{key} {k}", theirs.get(k, ""), ours.get(k, "")) for k in {**theirs, **ours}]
        else:
            both = [(key, theirs, ours)]
        found += [f"{what} {_short(a)[:60]}, not {_short(b)[:60]}" for what, a, b in both if a != b]
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _short(value: Any) -> str:
    """A fact for people: lists with spaces, hashes by their first digits."""
    if isinstance(value, list):
        return " ".join(map(_short, value)) or "none"
    text = str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text or "none"


def refuse_other(path: Path, asked: Mapping[str, str], there: Mapping[str, str]) -> None:
    """Refuse a file that was made from anything else than what is asked for.

    Raises:
        InputError: it was; what differs, first things first.
    """
    found = differences(asked, there)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise InputError(
            f"{path} was made with {'; '.join(found[:3])}{more}; give another --out, or --anew to "
            "start again in its place"
        )
