"""The batched path solver, against solvers of one problem at a time and numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.linear_model import Lasso, lars_path
from torch import Tensor

from bench.graph.trace import trace
from zoo.nonnegative import MeanWork, solve


def drawn(*shape: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def dictionary(rows: int, atoms: int) -> Tensor:
    """Atoms of unit length in columns."""
    columns = drawn(rows, atoms)
    return columns / columns.norm(dim=0)


def signals(number: int, rows: int) -> Tensor:
    found = drawn(number, rows, seed=1)
    return found / found.norm(dim=1, keepdim=True)


def violation(gram: Tensor, linear: Tensor, penalty: float, weights: Tensor) -> float:
    """By how much the conditions of the optimum are missed: none negative, no correlation above
    the penalty, and those of weights above 0 at it."""
    over = linear - weights @ gram - penalty
    assert float(weights.min()) >= 0
    return float(torch.where(weights > 0, over.abs(), over.clamp(min=0)).max())


@pytest.mark.parametrize("penalty", [0.4, 0.1, 0.01])
def test_lasso_is_what_coordinate_descent_finds(penalty: float) -> None:
    atoms, x = dictionary(30, 80), signals(20, 30)
    found = solve(atoms.T @ atoms, x @ atoms, penalty)
    lasso = Lasso(penalty / 30, positive=True, fit_intercept=False, tol=1e-13, max_iter=10**6)
    expected = np.stack([lasso.fit(atoms.numpy(), row.numpy()).coef_ for row in x])
    assert (found > 0).any()
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_no_penalty_is_nonnegative_least_squares_with_atoms_of_ones_own() -> None:
    atoms, x = drawn(40, 30, 24).abs(), drawn(40, 30, seed=1)
    linear = (x[:, None] @ atoms)[:, 0]
    linear[7] = -1.0  # nothing helps
    found = solve(atoms.mT @ atoms, linear)
    expected = np.stack([nnls(d.numpy(), row.numpy())[0] for d, row in zip(atoms, x, strict=True)])
    expected[7] = 0
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_one_gram_matrix_for_all_is_the_same_one_for_each() -> None:
    atoms, x = dictionary(20, 30), signals(9, 20)
    gram, linear = atoms.T @ atoms, x @ atoms
    each = solve(gram.expand(9, -1, -1), linear, 0.05)
    torch.testing.assert_close(each, solve(gram, linear, 0.05))
    alone = torch.cat([solve(gram, row[None], 0.05) for row in linear])
    torch.testing.assert_close(each, alone)


def test_single_precision_holds_the_conditions_to_its_own_rounding() -> None:
    atoms, x = dictionary(144, 1000).float(), signals(200, 144).float()
    gram, linear = atoms.T @ atoms, x @ atoms
    found = solve(gram, linear, 0.1)
    assert found.dtype == torch.float32
    assert violation(gram.double(), linear.double(), 0.1, found.double()) < 3e-6
    exact = solve(gram.double(), linear.double(), 0.1)
    assert violation(gram.double(), linear.double(), 0.1, exact) < 1e-13


def test_atoms_that_are_alike_or_depend_on_each_other() -> None:
    base = dictionary(6, 8)
    atoms = torch.cat([base, base[:, :3], (base[:, :1] + base[:, 1:2]) / 2], 1)
    x = torch.cat([signals(30, 6), base[:, :3].T])
    gram, linear = atoms.T @ atoms, x @ atoms
    for penalty in (0.1, 0.0):
        found = solve(gram, linear, penalty)
        assert violation(gram, linear, penalty, found) < 1e-12


def test_a_path_worked_by_hand() -> None:
    linear = torch.tensor([[0.8, 0.1, 1.0, 0.3, 0.5, -0.4]], dtype=torch.float64)
    gram = torch.eye(6, dtype=torch.float64)

    def expected(penalty: float) -> Tensor:
        return (linear - penalty).clamp(min=0)  # atoms at right angles do not mind each other

    torch.testing.assert_close(solve(gram, linear, 0.6), expected(0.6))
    # knots at 1, 0.8, 0.5, 0.3, 0.1, 0: the first at or below 0.6 is 0.5, the second 0.3
    torch.testing.assert_close(solve(gram, linear, 0.6, to_knot=True), expected(0.3))
    torch.testing.assert_close(solve(gram, linear, 0.2, to_knot=True), expected(0.0))
    torch.testing.assert_close(solve(gram, linear, 0.9, to_knot=True), expected(0.5))
    assert not solve(gram, linear, 1.1, to_knot=True).any()


def second_knot(atoms: NDArray[np.float64], x: NDArray[np.float64], penalty: float) -> Tensor:
    """By scikit-learn's path of one problem, which also has its knots where atoms leave."""
    knots, _, path = lars_path(atoms, x, method="lasso", positive=True)
    return torch.from_numpy(path[:, int(np.flatnonzero(knots * len(x) <= penalty)[1])])


def test_the_second_knot_at_or_below_the_penalty() -> None:
    atoms, x = dictionary(30, 80), signals(20, 30)
    found = solve(atoms.T @ atoms, x @ atoms, 0.1, to_knot=True)
    expected = torch.stack([second_knot(atoms.numpy(), row.numpy(), 0.1) for row in x])
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_nothing_to_code_is_no_weights() -> None:
    gram = torch.eye(4)
    assert torch.equal(solve(gram, torch.zeros(3, 4), 0.1), torch.zeros(3, 4))
    assert torch.equal(solve(gram, -torch.ones(2, 4)), torch.zeros(2, 4))
    assert solve(gram, torch.ones(0, 4)).shape == (0, 4)


def test_without_values_it_takes_the_effort_that_it_is_told() -> None:
    class Coder(torch.nn.Module):
        def __init__(self, mean_work: MeanWork | None) -> None:
            super().__init__()
            self.mean_work = mean_work

        def forward(self, linear: Tensor) -> Tensor:
            return solve(linear.new_empty(10, 10), linear, 0.1, mean_work=self.mean_work)

    graph = trace(Coder(MeanWork(steps=5, slots=3)), torch.empty(7, 10))
    bags = [op for op in graph.operators if "embedding_bag" in op.name]
    assert [op.arguments["indices"].shape for op in bags] == [(7 * 3,)] * 5
    assert graph.outputs[0].shape == (7, 10)
    with pytest.raises(ValueError, match="give the mean_work"):
        Coder(None)(torch.empty(7, 10, device="meta"))
