"""Nonnegative lasso and nonnegative least squares, for many small problems at once.

Each problem codes a vector x over a dictionary D with atoms in columns. The solution is the w >= 0
with the least 1/2 w'Gw - b'w + penalty * sum(w). Here G = D'D is the Gram matrix of the atoms and
b = D'x holds the atoms' correlations with x.

The solution w is piecewise linear in the penalty; the breakpoints are called knots. The solver
follows w from the penalty at which the first atom enters down to the penalty given (Efron, Hastie,
Johnstone, Tibshirani: Least Angle Regression, Annals of Statistics 2004, section 3, with all signs
positive). At each knot a single atom enters or leaves the active set, which is a rank-one update of
the inverse of the active atoms' Gram matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

TIE = 8
"""Tolerance for ties, in units of machine epsilon relative to the first penalty. An atom whose
correlation lies closer below the penalty counts as equal to the penalty."""


@dataclass(frozen=True)
class MeanWork:
    """Mean amount of work that `solve` does per problem, measured on real images.

    Costs are counted on the meta device, where tensors have a shape but no values. The number of
    steps depends on values, so `solve` cannot find it there. Instead `solve` runs exactly `steps`
    steps with `slots` slots for every problem, so the counted operations are those of a mean
    problem.
    """

    steps: int
    """Steps from knot to knot or to the end, mean over all problems."""
    slots: int
    """Places for active atoms, mean over all steps. Problems that are solved together share a
    number of slots: the most that any of them needs at that step."""


def solve(
    gram: Tensor,
    linear: Tensor,
    penalty: float = 0.0,
    *,
    to_knot: bool = False,
    mean_work: MeanWork | None = None,
) -> Tensor:
    """Weights w of N problems over K atoms each: (N, K), all >= 0.

    Correlations are kept in the dtype of `linear`. The small systems of the active atoms are solved
    in float64.

    Args:
        gram: G, (K, K) for all problems, or (N, K, K) if each problem has its own atoms. No atom
            may be zero.
        linear: b, (N, K), dtype of `gram`.
        penalty: factor on the sum of the weights, >= 0; 0 is nonnegative least squares.
        to_knot: stop at the second knot at or below the penalty, not at the penalty. SparseLab's
            `SolveLasso` does so, because its stopping rule tests the penalty at the start of a
            step.
        mean_work: amount of work to do on the meta device; required there, unused elsewhere.

    Returns:
        w, (N, K), dtype and device of `linear`. A path that rounding makes longer than 10 * K steps
        is cut there.

    Raises:
        ValueError: meta tensors without `mean_work`.
    """
    out = torch.zeros_like(linear)
    if linear.is_meta:
        if mean_work is None:
            raise ValueError(
                "the number of steps depends on values, which meta tensors lack; give the mean_work"
            )
        paths = _Paths.begin(gram, linear, penalty, mean_work.slots)
        for _ in range(mean_work.steps):
            paths.pivot()
            paths.advance(to_knot)
        return out
    # w is 0 for every other problem: no atom correlates by more than the penalty
    live = (linear.amax(1) > penalty).nonzero()[:, 0]
    paths = _Paths.begin(gram, linear, penalty, 1).of(live)
    for _ in range(10 * linear.shape[1]):
        if not len(paths.problem):
            break
        paths.make_room()
        paths.pivot()
        ends = paths.advance(to_knot)
        if bool(ends.any()):  # shrink the batch: problems end after very different step counts
            paths.of(ends.nonzero()[:, 0]).write(out)
            paths = paths.of((~ends).nonzero()[:, 0])
    paths.write(out)
    return out


@dataclass
class _Paths:
    """State of n problems on their paths, each in units of its own first penalty.

    Active atoms sit in S slots. A free slot has weight 0 and zeros in the inverse.
    """

    table: Tensor
    """Rows of all Gram matrices, stacked: (K, K) or (N * K, K)."""
    problem: Tensor
    """Row of each problem in `linear` and in the result, (n,), int64."""
    first: Tensor
    """First row of each problem in the table, (n,), int64."""
    unit: Tensor
    """First penalty of each problem, its greatest correlation, (n,), dtype of `linear`."""
    goal: Tensor
    """Penalty to reach, (n,), float64."""
    penalty: Tensor
    """Current penalty, from 1 down, (n,), float64."""
    atom: Tensor
    """Atom in each slot, (n, S), int64."""
    active: Tensor
    """Whether a slot is taken, (n, S), bool."""
    weight: Tensor
    """Weight of the atom in each slot, (n, S), float64."""
    inverse: Tensor
    """Inverse of the active atoms' Gram matrix, (n, S, S), float64."""
    slack: Tensor
    """Penalty minus correlation of each atom, (n, K), dtype of `linear`. An active atom has
    slack 0, stored as infinity so that the atom does not enter again."""
    enters: Tensor
    """Whether an atom enters at this knot (True) or leaves (False), (n,), bool."""
    entering: Tensor
    """Atom that enters, (n,), int64; unused if an atom leaves."""
    leaving: Tensor
    """Slot whose atom leaves, (n,), int64; unused if an atom enters."""

    @classmethod
    def begin(cls, gram: Tensor, linear: Tensor, penalty: float, slots: int) -> _Paths:
        # the first penalty at which any atom enters is the greatest correlation
        unit, entering = linear.max(1)
        problem = torch.arange(len(linear), device=linear.device)
        atom = torch.zeros_like(problem)[:, None].repeat(1, slots)
        weight = torch.zeros_like(atom, dtype=torch.float64)
        return cls(
            table=gram.reshape(-1, gram.shape[-1]),
            problem=problem,
            first=problem * gram.shape[-1] if gram.dim() == 3 else torch.zeros_like(problem),
            unit=unit,
            goal=penalty / unit.double(),
            penalty=torch.ones_like(unit, dtype=torch.float64),
            atom=atom,
            active=torch.zeros_like(atom, dtype=torch.bool),
            weight=weight,
            inverse=weight[:, :, None].repeat(1, 1, slots),  # zeros, (N, S, S)
            slack=1 - linear / unit[:, None],
            enters=torch.ones_like(problem, dtype=torch.bool),
            entering=entering,
            leaving=torch.zeros_like(problem),
        )

    def of(self, rows: Tensor) -> _Paths:
        """The paths of the problems in `rows`, (m,), indices or a mask."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        table = kept.pop("table")
        return _Paths(table, **{name: value[rows] for name, value in kept.items()})

    def make_room(self) -> None:
        """Add a slot if any problem has no free slot."""
        if bool(self.active.all(1).any()):
            self.atom, self.active, self.weight = (
                pad(value, (0, 1)) for value in (self.atom, self.active, self.weight)
            )
            self.inverse = pad(self.inverse, (0, 1, 0, 1))

    def pivot(self) -> None:
        """Put the entering atom into the first free slot, or clear the slot of the leaving atom.

        `inverse`, (n, S, S), is updated for either case by a single rank-one formula.
        """
        enters = self.enters[:, None]
        slot = torch.where(
            enters, self.active.byte().argmin(1, keepdim=True), self.leaving[:, None]
        )
        atom = torch.where(enters, self.entering[:, None], self.atom.gather(1, slot))  # (n, 1)
        row = self.first[:, None] + atom  # (n, 1)
        shared = self.table[row, self.atom].double() * self.active  # with active atoms, (n, S)
        solved = (self.inverse @ shared[:, :, None])[:, :, 0]  # (n, S)
        # Schur complement: squared length of the atom orthogonal to the active atoms, (n, 1)
        length = self.table[row, atom].double() - (shared * solved).sum(1, keepdim=True)
        where = slot[:, :, None].expand(-1, -1, self.inverse.shape[2])
        column = self.inverse.gather(1, where)[:, 0]
        change = torch.where(enters, solved.scatter(1, slot, -1.0), column)
        divisor = torch.where(enters, length, -column.gather(1, slot))
        self.inverse.addcmul_(change[:, :, None], (change / divisor)[:, None])
        self.atom.scatter_(1, slot, atom)
        self.active.scatter_(1, slot, enters)
        self.weight.scatter_(1, slot, 0.0)
        self.slack.scatter_(1, atom, torch.where(enters, torch.inf, 0.0).to(self.slack.dtype))

    def advance(self, to_knot: bool) -> Tensor:
        """Move each problem to its next knot or to its end; returns which ended, (n,), bool."""
        # While the penalty falls by 1, weights grow by `growth` and slacks shrink by `closing`.
        growth = self.inverse.sum(2) * self.active  # (n, S)
        closing = 1 - embedding_bag(
            self.atom + self.first[:, None],
            self.table,
            per_sample_weights=growth.to(self.table.dtype),
            mode="sum",
        )
        self.slack.clamp_(min=TIE * torch.finfo(self.slack.dtype).eps)
        # the least slack / closing among closing > 0, as a reciprocal: infinite slack gives 0
        fastest, self.entering = (closing / self.slack).max(1)
        to_enter = 1 / fastest.double().clamp(min=1e-300)
        to_leave, self.leaving = torch.where(growth < 0, -self.weight / growth, torch.inf).min(1)
        self.enters = to_enter <= to_leave
        left = self.penalty if to_knot else self.penalty - self.goal
        step = torch.minimum(torch.minimum(to_enter, to_leave), left)
        ends = step >= left
        if to_knot:
            ends |= self.penalty <= self.goal
        self.weight.addcmul_(growth, step[:, None])
        self.slack.addcmul_(closing, step[:, None].to(closing.dtype), value=-1)
        self.penalty -= step
        return ends

    def write(self, out: Tensor) -> None:
        """Add the weights to the rows of their problems in `out`, (N, K), which must be zero."""
        weight = (self.weight * self.unit[:, None]).to(out.dtype)
        out.index_put_((self.problem[:, None], self.atom), weight, accumulate=True)
