"""Nonnegative lasso and least squares of many small problems at once.

Each problem is: of w >= 0, the one of least 1/2 w'Gw - b'w + penalty * sum(w), where G = D'D is
the Gram matrix of a dictionary's atoms and b = D'x their correlations with what is to be coded.
The solution is piecewise linear in the penalty. It is followed from the penalty at which the first
atom enters down to the one asked for (Efron, Hastie, Johnstone, Tibshirani: Least Angle
Regression, Annals of Statistics 2004, section 3, signs held positive): at each knot one atom
enters or leaves, which is a rank-one update of the inverse of the active atoms' Gram matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

TIE = 8
"""Atoms whose correlation is less than so many units in the last place below the penalty, in units
of the first penalty, are taken to be at it."""


@dataclass(frozen=True)
class MeanWork:
    """What a problem takes on average.

    On the meta device, where nothing has a value, each takes so much, so that what is counted
    there is what is computed.
    """

    steps: int
    slots: int
    """Places for active atoms at each step: as many as the problems solved together need."""


def solve(
    gram: Tensor,
    linear: Tensor,
    penalty: float = 0.0,
    *,
    to_knot: bool = False,
    mean_work: MeanWork | None = None,
) -> Tensor:
    """The weights of each problem's atoms: (N, K), none negative.

    Correlations are kept in the dtype given; the active atoms' small systems are solved in double.

    Args:
        gram: G, (K, K), or (N, K, K) where each problem has atoms of its own; none is zero.
        linear: b, (N, K), of the same dtype.
        penalty: on the sum of the weights, >= 0; 0 is nonnegative least squares.
        to_knot: end at a knot, not at the penalty: at the second one at or below it, as
            SparseLab's `SolveLasso` does, whose stopping rule looks at where a step began.
        mean_work: what to do on the meta device.

    A path of more than 10 * K steps, of which there is none but by rounding, is left there.
    """
    out = torch.zeros_like(linear)
    if linear.is_meta:
        if mean_work is None:
            raise ValueError("steps depend on values, which meta tensors lack; give the mean_work")
        paths = _Paths.begin(gram, linear, penalty, mean_work.slots)
        for _ in range(mean_work.steps):
            paths.pivot()
            paths.advance(to_knot)
        return out
    live = (linear.amax(1) > penalty).nonzero()[:, 0]
    paths = _Paths.begin(gram, linear, penalty, 1).of(live)
    for _ in range(10 * linear.shape[1]):
        if not len(paths.problem):
            break
        paths.make_room()
        paths.pivot()
        ends = paths.advance(to_knot)
        if bool(ends.any()):
            paths.of(ends.nonzero()[:, 0]).write(out)
            paths = paths.of((~ends).nonzero()[:, 0])
    paths.write(out)
    return out


@dataclass
class _Paths:
    """Where n problems are on their ways: everything in units of their first penalties.

    Active atoms sit in slots; a free slot holds weight 0, and 0 in the inverse.
    """

    table: Tensor
    """Rows of Gram matrices, one after the other."""
    problem: Tensor
    """Its number, (n,)."""
    first: Tensor
    """Its first row in the table, (n,)."""
    unit: Tensor
    """Its first penalty: the greatest correlation, (n,)."""
    goal: Tensor
    """(n,), as all that follows in double."""
    penalty: Tensor
    atom: Tensor
    """In each slot, (n, S), whole numbers."""
    active: Tensor
    """Whether the slot is taken, (n, S), logical."""
    weight: Tensor
    """(n, S)."""
    inverse: Tensor
    """Of the active atoms' Gram matrix, (n, S, S)."""
    slack: Tensor
    """How far each atom's correlation lies below the penalty, (n, K), as `linear`; that of an
    active atom, which is 0, stands as infinity, so that it is not found to enter."""
    enters: Tensor
    """Whether an atom enters at this knot, or leaves, (n,), logical."""
    entering: Tensor
    """Which atom, (n,)."""
    leaving: Tensor
    """From which slot, (n,)."""

    @classmethod
    def begin(cls, gram: Tensor, linear: Tensor, penalty: float, slots: int) -> _Paths:
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
            inverse=weight[:, :, None].repeat(1, 1, slots),
            slack=1 - linear / unit[:, None],
            enters=torch.ones_like(problem, dtype=torch.bool),
            entering=entering,
            leaving=torch.zeros_like(problem),
        )

    def of(self, rows: Tensor) -> _Paths:
        """Some of the problems."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        table = kept.pop("table")
        return _Paths(table, **{name: value[rows] for name, value in kept.items()})

    def make_room(self) -> None:
        """One more slot, if any problem has none free."""
        if bool(self.active.all(1).any()):
            self.atom, self.active, self.weight = (
                pad(value, (0, 1)) for value in (self.atom, self.active, self.weight)
            )
            self.inverse = pad(self.inverse, (0, 1, 0, 1))

    def pivot(self) -> None:
        """Let the atom of this knot into the first free slot, or out of its own."""
        enters = self.enters[:, None]
        slot = torch.where(
            enters, self.active.byte().argmin(1, keepdim=True), self.leaving[:, None]
        )
        atom = torch.where(enters, self.entering[:, None], self.atom.gather(1, slot))
        row = self.first[:, None] + atom
        shared = self.table[row, self.atom].double() * self.active
        solved = (self.inverse @ shared[:, :, None])[:, :, 0]
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
        """Go on to the next knot or to the end; whether it is the end, (n,)."""
        # While the penalty falls by 1, weights grow by `growth` and slacks shrink by `closing`.
        growth = self.inverse.sum(2) * self.active
        closing = 1 - embedding_bag(
            self.atom + self.first[:, None],
            self.table,
            per_sample_weights=growth.to(self.table.dtype),
            mode="sum",
        )
        self.slack.clamp_(min=TIE * torch.finfo(self.slack.dtype).eps)
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
        """The weights in their problems' rows of `out`, which are zero; (N, K)."""
        weight = (self.weight * self.unit[:, None]).to(out.dtype)
        out.index_put_((self.problem[:, None], self.atom), weight, accumulate=True)
