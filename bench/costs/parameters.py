"""Number of parameters."""

from __future__ import annotations

from bench.costs import Cost, Subject

TIMED = False
UNITS = {"parameters": ""}


def measure(subject: Subject) -> dict[str, Cost]:
    """Weights and biases of the module, each shared tensor once."""
    return {"parameters": Cost(float(sum(p.numel() for p in subject.module.parameters())))}
