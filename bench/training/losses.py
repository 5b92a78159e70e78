"""Losses: the training objective, a weighted sum of terms.

| term | value |
|---|---|
| `l1`, `l2` | mean absolute and mean squared difference of SR and HR in [0, 1] |
| `euclidean` | half the sum of squared differences, per patch: Caffe's loss (VDSR, MemNet) |
| `multi-supervised` | Lal and Javid, section 7.2.2: `euclidean` of SR and of each memory's SR |
| `tv` | total variation of SR: mean absolute difference of neighbours, down and right |
| `NETWORK:LAYER` | mean squared difference of features, see `bench.training.features` |
| `adversarial` | the discriminator's verdict on SR: SRGAN's -log D, or Lal and Javid's 1 - D |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.training import features
from zoo.errors import InputError, unknown
from zoo.recipe import ADVERSARY
from zoo.srresnet import Discriminator

_PLAIN = ("l1", "l2", "euclidean", "multi-supervised", "tv", "adversarial")


@dataclass(frozen=True)
class Term:
    """A weighted term of a loss."""

    weight: float
    name: str

    @property
    def is_features(self) -> bool:
        """Whether the term compares features of a network."""
        return ":" in self.name


def parse(text: str) -> tuple[Term, ...]:
    """The terms of a loss.

    >>> parse("l2 + 0.001 adversarial")
    (Term(weight=1.0, name='l2'), Term(weight=0.001, name='adversarial'))

    Raises:
        InputError: a term is unknown, or a weight is not a finite number of at least 0.
    """
    found = []
    for part in re.split(r"\s\+\s", text.strip()):  # spaces, because a weight may be 1e+3
        weight, _, name = part.strip().rpartition(" ")
        try:
            term = Term(float(weight or 1), name)
        except ValueError:
            term = Term(float("nan"), name)  # refused below, as any other bad weight
        if not 0 <= term.weight < float("inf"):
            raise InputError(f"loss {text!r}: weight {weight!r}; give terms as WEIGHT NAME")
        if term.is_features:
            features.parse(name)
        elif name not in _PLAIN:
            raise InputError(
                f"loss {text!r}: no term {name!r}; choose from: {', '.join(_PLAIN)}, or "
                "NETWORK:LAYER such as vgg19:relu5_4"
            )
        found.append(term)
    return tuple(found)


class Objective(nn.Module):
    """A network and the network's loss in a single module, so that processes can share both."""

    def __init__(
        self,
        network: nn.Module,
        terms: tuple[Term, ...],
        border: int,
        adversary: Adversary | None,
        device: torch.device,
    ) -> None:
        """Keep the network; load the feature networks of the terms.

        Raises:
            InputError: a feature network is unknown, or the network's weights are not here.
        """
        super().__init__()
        self.network = network
        self._terms, self._border = terms, border
        # In a list, so that the discriminator's parameters are not parameters of this module.
        self._adversary = [adversary] if adversary else []
        self._features = {
            term.name: features.network(features.parse(term.name), device)
            for term in terms
            if term.is_features
        }

    def forward(self, x: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and SR without gradients.

        Args:
            x: (N, C, p, p), float32 in [0, 1], the network's input.
            hr: (N, C, P, P), float32 in [0, 1].

        Returns:
            The loss, a scalar, and SR (N, C, P, P), float32.

        Raises:
            InputError: the loss is multi-supervised, but the network has no output per memory.
        """
        names = [term.name for term in self._terms]
        each: tuple[Tensor, ...] = ()
        outputs = getattr(self.network, "outputs", None)
        if "multi-supervised" in names and outputs is not None:
            sr, each = outputs(x)
        else:
            sr = self.network(x)
        if "multi-supervised" in names and not each:
            raise InputError(
                "loss multi-supervised needs a network with an output per memory; give "
                "memnet:supervision=multi, or another loss"
            )
        # Loss and feature networks compute in float32, whatever the network computes in.
        with torch.autocast(x.device.type, enabled=False):
            inner = self._inner(sr.float())
            target = self._inner(hr)
            others = [self._inner(one.float()) for one in each]
            total = sum(
                (
                    term.weight * self._term(term.name, inner, target, others)
                    for term in self._terms
                ),
                start=inner.new_zeros(()),
            )
        return total, sr.detach().float()

    def _inner(self, image: Tensor) -> Tensor:
        """Patches (N, C, P, P) without the border: (N, C, P - 2 * border, P - 2 * border)."""
        edge = self._border
        return image[..., edge : image.shape[-2] - edge, edge : image.shape[-1] - edge]

    def _term(self, name: str, sr: Tensor, hr: Tensor, each: list[Tensor]) -> Tensor:
        """The value of a term without the weight, a scalar.

        Args:
            name: the term's name.
            sr: (N, C, P, P), float32.
            hr: (N, C, P, P), float32 in [0, 1].
            each: SR of each memory, (N, C, P, P); empty unless the loss is multi-supervised.
        """
        if name == "l1":
            return (sr - hr).abs().mean()
        if name == "l2":
            return functional.mse_loss(sr, hr)
        if name == "euclidean":
            return _euclidean(sr, hr)
        if name == "multi-supervised":
            # Lal and Javid, section 7.2.2: alpha weighs the final SR against the memories' SR.
            alpha = 1 / (1 + len(each))
            parts = torch.stack([_euclidean(one, hr) for one in each]).sum()
            return (alpha * _euclidean(sr, hr) + (1 - alpha) * parts) / len(each)
        if name == "tv":
            return sr.diff(dim=-2).abs().mean() + sr.diff(dim=-1).abs().mean()
        if name == "adversarial":
            return self._adversary[0].fooled(sr)
        seen = self._features[name]
        return functional.mse_loss(seen(sr), seen(hr))


def _euclidean(sr: Tensor, hr: Tensor) -> Tensor:
    """Half the sum of squared differences of (N, C, P, P), divided by N, as in Caffe: a scalar."""
    return (sr - hr).square().sum() / (2 * len(sr))


class Adversary(nn.Module):
    """A discriminator D, the discriminator's loss and the generator's.

    | choice | discriminator's loss | generator's loss | source |
    |---|---|---|---|
    | `log` | -log D(HR) - log(1 - D(SR)) | -log D(SR) | SRGAN |
    | `linear` | 1 - D(HR) + D(SR) | 1 - D(SR) | Lal and Javid |
    """

    def __init__(self, choices: Mapping[str, Any], side: int) -> None:
        """Build the discriminator.

        Args:
            choices: choices of the recipe, of `zoo.recipe.ADVERSARY`; the rest have defaults.
            side: side of the HR patches, in pixels.

        Raises:
            InputError: a choice is unknown, or a value is not allowed.
        """
        super().__init__()
        for key in choices:
            if key not in ADVERSARY:
                raise unknown("choice of an adversary", key, ADVERSARY)
        known = {"loss": "log", "dropout": 0.0, "place": "none", "rate": 0.0, **choices}
        if known["loss"] not in ("log", "linear"):
            raise InputError(f"adversary.loss={known['loss']}: choose from: log, linear")
        if not 0 <= known["rate"] < float("inf"):
            raise InputError(f"adversary.rate={known['rate']}: give a learning rate, or 0")
        self._linear = known["loss"] == "linear"
        self.judge = Discriminator(side, known["dropout"], known["place"])

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The discriminator's loss, a scalar, for SR and HR patches (N, 3, P, P) in [0, 1]."""
        real: Tensor = self.judge(hr).float()
        fake: Tensor = self.judge(sr).float()
        if self._linear:
            return (1 - real + fake).mean()
        # On a GPU, torch refuses binary_cross_entropy under autocast.
        with torch.autocast(sr.device.type, enabled=False):
            return functional.binary_cross_entropy(
                real, torch.ones_like(real)
            ) + functional.binary_cross_entropy(fake, torch.zeros_like(fake))

    def fooled(self, sr: Tensor) -> Tensor:
        """The generator's loss, a scalar, for SR patches (N, 3, P, P) in [0, 1].

        The gradient reaches SR, but not the discriminator's parameters.
        """
        self.judge.requires_grad_(False)
        fake: Tensor = self.judge(sr).float()
        self.judge.requires_grad_(True)
        if self._linear:
            return (1 - fake).mean()
        with torch.autocast(sr.device.type, enabled=False):
            return functional.binary_cross_entropy(fake, torch.ones_like(fake))
