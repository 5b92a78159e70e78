"""K-SVD, GR, ANR, A+, NE+LLE and NE+NNLS: HR detail predicted patch by patch.

Zeyde, Elad, Protter: On Single Image Scale-Up Using Sparse-Representations, Curves and Surfaces
2010 (K-SVD). Timofte, De Smet, Van Gool: Anchored Neighborhood Regression for Fast Example-Based
Super-Resolution, ICCV 2013 (GR, ANR, and the neighbour embeddings on the same dictionary), and
A+: Adjusted Anchored Neighborhood Regression for Fast Super-Resolution, ACCV 2014. NE+LLE is by
Chang, Yeung, Xiong, CVPR 2004; NE+NNLS by Bevilacqua et al., BMVC 2012.

All share the pipeline `Patches`:

1. features of each patch of interpolated luma: gradients and PCA, as a single convolution;
2. the HR detail that each patch lacks, predicted from the features; only this step differs;
3. the mean of overlapping patches, added to interpolated luma.

No patch covers the outermost LR pixels, so a border of s HR pixels stays interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, embedding_bag

from zoo.dictionaries import (
    global_regressor,
    learn_dictionary,
    learn_regressors,
    neighbourhood_regressors,
)
from zoo.errors import InputError
from zoo.method import LearningInputs, Method, Recipe, Settings, Step, Weights, learned_here
from zoo.nonnegative import MeanWork, solve
from zoo.patches import (
    PATCH,
    WINDOW,
    average_overlapping,
    gradient_operator,
    in_blocks,
    matching_pursuit,
    refuse_without_patch,
)

NAMES = ("k-svd", "gr", "anr", "a-plus", "ne-lle", "ne-nnls")


_ZEYDE = "Zeyde et al., On Single Image Scale-Up Using Sparse-Representations, 2010"


_ANR = "Timofte et al., Anchored Neighborhood Regression for Fast Example-Based SR, ICCV 2013"


_APLUS = "Timofte et al., A+: Adjusted Anchored Neighborhood Regression, ACCV 2014"


_CITATIONS = {
    "k-svd": _ZEYDE,
    "gr": _ANR,
    "anr": _ANR,
    "a-plus": _APLUS,
    "ne-lle": "Chang et al., Super-Resolution Through Neighbor Embedding, CVPR 2004, as in ANR's",
    "ne-nnls": (
        "Bevilacqua et al., Low-Complexity Single-Image SR based on Nonnegative Neighbor "
        "Embedding, BMVC 2012, as in ANR's"
    ),
}


_PUBLISHED = {
    2: "ddcd61927c1e3a9f85c1301c5f3dc4a86995a6d09d8a8838a7f991cdf8a1fe47",
    3: "756fac0970d159a976518b522d3105df0313a2cd5ed4342958ea9d78e2e4bb3b",
    4: "29f76ccedbf61f1080bcf8d8e2641557783ddf55c912210a25a290e5305377a2",
}


_LEARNED = {
    ("a-plus", 2): "777d2e4ca21a4e21c58ee9d83e26c4adb51b5edda9d6964a5bb5fec8de196b27",
    ("a-plus", 3): "35283db64474eed7c985ecf505df9ed27177800f24d8ad04609bc7ab88a21544",
    ("a-plus", 4): "37c2a83119758d11c698cc6776a5d2f2c02bf7c8038a10fd6c6e68e2b277cc89",
    ("k-svd", 2): "8c1ec0a7892a690f355774295e5e5d963fda74d61a96d6fd6e62f3fbc0888ede",
    ("k-svd", 3): "5208569f461683ab34cf3cd77ae1068a6f1d9c4f27d32455fd355cf6132415e0",
    ("k-svd", 4): "c7a5cde2e7ac336c53f6accfe15e7849bd2741e94e5988cef3f1928452602f27",
}
"""SHA-256 of the weights in `weights/`, which this project learned from T91, by (owner, scale)."""


_FEATURES = {2: 28, 3: 30, 4: 30}
"""Number of features of a patch by scale: PCA components that keep 99.9 % of the gradients' energy,
as in the published dictionaries."""


_ATOMS = frozenset(("features", "low", "high"))


_COMPACT = frozenset(("features", "anchors", "regressors", "step"))


_MEAN_WORK = MeanWork(steps=18, slots=10)
"""Work of `solve` for the NE+NNLS weights of a patch: mean over Set5 x3, published dictionary."""


_FLAT = 1e-4
"""Bound on the features of a flat patch, which are 0 up to rounding in float32."""


_BLOCK, _BLOCKS = 16, 256  # patches in a block of a single regressor; blocks multiplied at once


_CHUNK = 1024  # patches compared with all atoms at once: 4 MiB, which stays in a core's cache


class Patches(nn.Module):
    """The shared pipeline. A subclass defines `missing`, the prediction of HR detail.

    State: `features` (d, 1, 5s, 5s), the convolution that computes the d features of a patch.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        side = WINDOW * scale
        self.features = nn.Parameter(torch.randn(_FEATURES[scale], 1, side, side) / side)

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, H, W) of interpolated luma x, (N, 1, H, W) in [0, 1].

        Raises:
            InputError: the image holds no patch.
        """
        s = self.scale
        height, width = x.shape[-2:]
        rows, columns = height // s, width // s
        refuse_without_patch(rows, columns)
        # (N, d, rows - 4, columns - 4): a feature vector for each patch
        described = conv2d(x[..., : rows * s, : columns * s], self.features, stride=s)
        number, length, down, along = described.shape
        vectors = described.permute(0, 2, 3, 1).reshape(-1, length)  # (patches, d)
        # The features of a flat patch are only rounding errors, which must not become detail.
        vectors = torch.where(vectors.abs().amax(1, keepdim=True) <= _FLAT, 0, vectors)
        # (N, rows - 4, columns - 4, 9 s^2)
        patches = self.missing(vectors).reshape(number, down, along, (PATCH * s) ** 2)
        out = x.clone()  # (N, 1, H, W)
        out[..., s : (rows - 1) * s, s : (columns - 1) * s] += average_overlapping(patches, s)
        return out

    def receptive_field_proxy(self) -> nn.Module:
        """A convolutional network with the receptive field of this module.

        Maps (N, 1, H, W) to (N, 1, H, W) for H, W that are multiples of s. An output pixel depends
        on 3 LR pixels to each side, on the grid of LR. The receptive field of `forward` itself
        cannot be traced, because `forward` makes a list of patches.
        """
        s = self.scale
        return nn.Sequential(
            nn.Conv2d(1, 1, WINDOW * s, s), nn.ConvTranspose2d(1, 1, PATCH * s, s), nn.ZeroPad2d(s)
        )

    def missing(self, described: Tensor) -> Tensor:
        """HR minus interpolated LR in N patches, predicted from the features.

        Args:
            described: features, (N, d).

        Returns:
            (N, 9 s^2), values in the block order of `average_overlapping`.
        """
        raise NotImplementedError


class Dictionary(Patches):
    """Sparse or local coding over K coupled atoms; a subclass defines `code`.

    State: `low` (K, d), LR features of unit length; `high` (K, 9 s^2), HR minus interpolated LR.
    """

    chunk = _CHUNK

    def __init__(self, scale: int, atoms: int) -> None:
        super().__init__(scale)
        low = torch.randn(atoms, _FEATURES[scale])
        self.low = nn.Parameter(low / low.norm(dim=1, keepdim=True))
        self.high = nn.Parameter(torch.randn(atoms, (PATCH * scale) ** 2) / PATCH / scale)

    def missing(self, described: Tensor) -> Tensor:
        """(N, 9 s^2): sums of HR atoms with the weights that `code` gives for features (N, d)."""
        return torch.cat([self._combined(part) for part in torch.split(described, self.chunk)])

    def _combined(self, described: Tensor) -> Tensor:
        index, weight = self.code(described)
        return embedding_bag(index, self.high, per_sample_weights=weight, mode="sum")

    def code(self, described: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (N, n) and weights (N, n) of the n atoms that represent features (N, d)."""
        raise NotImplementedError


class OrthogonalMatchingPursuit(Dictionary):
    """K-SVD: at most `sparsity` atoms, by matching pursuit."""

    def __init__(self, scale: int, atoms: int, sparsity: int) -> None:
        super().__init__(scale, atoms)
        if sparsity > atoms:
            raise InputError(
                f"sparsity {sparsity} exceeds the {atoms} atoms of the dictionary; give at least "
                f"{sparsity} atoms, or a lower sparsity"
            )
        self.sparsity = sparsity

    def code(self, described: Tensor) -> tuple[Tensor, Tensor]:
        """Indices and weights, (N, sparsity) each, of features (N, d).

        By orthogonal matching pursuit (Zeyde et al. 2010, section 3.3).
        """
        return matching_pursuit(described, self.low, self.sparsity)


class NeighbourEmbedding(Dictionary):
    """Coding over the atoms with the largest absolute correlation; `weigh` gives the weights."""

    def __init__(self, scale: int, atoms: int, neighbours: int) -> None:
        super().__init__(scale, atoms)
        if neighbours > atoms:
            raise InputError(
                f"{neighbours} neighbours exceed the {atoms} atoms of the dictionary; give at "
                f"least {neighbours} atoms, or fewer neighbours"
            )
        self.neighbours = neighbours

    def code(self, described: Tensor) -> tuple[Tensor, Tensor]:
        """Indices and weights, (N, neighbours) each, of features (N, d)."""
        likeness = (described @ self.low.T).abs_()  # (N, K)
        index = likeness.topk(self.neighbours, dim=1).indices
        # torch's Cholesky factorisation has no half-precision version
        wide = torch.float64 if described.dtype == torch.float64 else torch.float32
        weight = self.weigh(described.to(wide), self.low[index].to(wide))
        return index, weight.to(described.dtype)

    def weigh(self, described: Tensor, near: Tensor) -> Tensor:
        """Weights (N, n) of the neighbours `near`, (N, n, d), that represent features (N, d)."""
        raise NotImplementedError


class LocallyLinear(NeighbourEmbedding):
    """NE+LLE: least-squares weights with sum 1."""

    def weigh(self, described: Tensor, near: Tensor) -> Tensor:
        """Weights (N, n) of neighbours (N, n, d) for features (N, d), with sum 1.

        A flat patch gets weights of 0, because weights with sum 1 would give the patch texture.

        Source: Chang et al. 2004, eq. 2 to 4. The Gram matrix is regularised by 1e-4 of its trace,
        as in ANR's program.
        """
        away = near - described[:, None]  # (N, n, d)
        gram = away @ away.mT  # (N, n, n)
        trace = gram.diagonal(dim1=1, dim2=2).sum(1)
        gram = gram + 1e-4 * torch.diag_embed(trace[:, None].expand(-1, near.shape[1]))
        factor = torch.linalg.cholesky_ex(gram)[0]
        ones = torch.ones_like(gram[..., :1])
        weight = torch.cholesky_solve(ones, factor)[..., 0]
        weight = weight / weight.sum(1, keepdim=True)
        return weight * (described.abs().amax(1, keepdim=True) > 0)


class Nonnegative(NeighbourEmbedding):
    """NE+NNLS: least-squares weights >= 0."""

    chunk = 4 * _CHUNK  # large batches save more in the solver's many small steps than cache costs

    def weigh(self, described: Tensor, near: Tensor) -> Tensor:
        """Weights (N, n) >= 0 of neighbours (N, n, d) for features (N, d).

        Source: Bevilacqua et al. 2012, eq. 4.
        """
        linear = (near @ described[:, :, None])[..., 0]
        return solve(near @ near.mT, linear, mean_work=_MEAN_WORK)


class Regression(Patches):
    """GR: a single regressor for all patches. State: `regressor` (d, 9 s^2)."""

    def __init__(self, scale: int) -> None:
        super().__init__(scale)
        shape = (_FEATURES[scale], (PATCH * scale) ** 2)
        self.regressor = nn.Parameter(torch.randn(shape) / PATCH / scale)

    def missing(self, described: Tensor) -> Tensor:
        """(N, 9 s^2): features (N, d) times the regressor (Timofte et al. 2013, eq. 6)."""
        return described @ self.regressor


class AnchoredRegression(Patches):
    """ANR and A+: each patch uses the regressor of the anchor with the largest correlation.

    State: `anchors` (K, d), of unit length; `regressors` (K, d, 9 s^2).
    """

    def __init__(self, scale: int, atoms: int) -> None:
        super().__init__(scale)
        length, size = _FEATURES[scale], (PATCH * scale) ** 2
        anchors = torch.randn(atoms, length)
        self.anchors = nn.Parameter(anchors / anchors.norm(dim=1, keepdim=True))
        self.regressors = nn.Parameter(torch.randn(atoms, length, size) / PATCH / scale)

    def missing(self, described: Tensor) -> Tensor:
        """(N, 9 s^2): features (N, d), each times the regressor of its anchor.

        Source: Timofte et al. 2013, section 3.2.
        """
        anchor = torch.cat([self.nearest(part) for part in torch.split(described, _CHUNK)])
        if described.is_meta:  # no values, so no anchors: any regressor costs as many multiplies
            return described @ self.regressors[0]
        return self._by_anchor(described, anchor)

    def nearest(self, described: Tensor) -> Tensor:
        """Index (N,) of the anchor with the largest absolute correlation to features (N, d).

        Negated features have the negated HR detail, so both share an anchor.
        """
        return (described @ self.anchors.T).abs_().argmax(1)

    def _by_anchor(self, described: Tensor, anchor: Tensor) -> Tensor:
        """HR detail (N, 9 s^2) of features (N, d) whose anchors are `anchor`, (N,).

        Patches are sorted by anchor into blocks of `_BLOCK` rows, padded with zeros. A regressor is
        then read from memory once per block, not once per patch.
        """
        number = torch.bincount(anchor, minlength=len(self.anchors))
        blocks = (number + _BLOCK - 1) // _BLOCK
        # rows of padding before the patches of each anchor, (K,)
        gaps = (blocks.cumsum(0) - blocks) * _BLOCK - (number.cumsum(0) - number)
        ordered, order = anchor.sort()
        place = torch.arange(len(anchor), device=anchor.device) + gaps[ordered]
        place = torch.empty_like(place).index_copy_(0, order, place)  # row of each patch, (N,)
        of = torch.repeat_interleave(blocks)  # anchor of each block
        length = described.shape[1]
        filled = described.new_zeros(len(of) * _BLOCK, length).index_copy(0, place, described)
        filled = filled.reshape(len(of), _BLOCK, length)
        parts = zip(torch.split(filled, _BLOCKS), torch.split(of, _BLOCKS), strict=True)
        made = torch.cat([part @ self.regressors[some] for part, some in parts])
        return made.flatten(0, 1).index_select(0, place)


# Published dictionaries
def dictionary(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of a `Dictionary`, in float64, from the authors' `conf` struct.

    Args:
        arrays: struct `conf` of the authors' `.mat` with `V_pca` (36 s^2, d), `dict_lores` (d, K),
            `dict_hires` (9 s^2, K) and `scale`. The returned layout is accepted, too.

    Returns:
        `features` (d, 1, 5s, 5s), `low` (K, d), `high` (K, 9 s^2).

    Raises:
        InputError: another layout.
    """
    if set(arrays) == _ATOMS:
        features, low, high = (arrays[name] for name in ("features", "low", "high"))
        fits = features.dim() == 4 and low.dim() == high.dim() == 2 and len(low) == len(high)
        if not fits or low.shape[1] != len(features):
            shapes = ", ".join(str(tuple(part.shape)) for part in (features, low, high))
            raise InputError(
                f"not a dictionary: features, low, high have shapes {shapes}; expected "
                "(d, 1, 5s, 5s), (K, d), (K, 9 s^2)"
            )
        return {name: tensor.double() for name, tensor in arrays.items()}
    conf = arrays.get("conf")
    wanted = ("V_pca", "dict_lores", "dict_hires", "scale")
    names = getattr(getattr(conf, "dtype", None), "names", None) or ()
    if conf is None or len(arrays) > 1 or not set(wanted) <= set(names):
        raise InputError(
            f"not the authors' dictionary: holds {', '.join(sorted(arrays))[:80] or 'nothing'}; "
            f"expected a struct `conf` with {', '.join(wanted)}"
        )
    components, low, high, scale = (np.asarray(conf[name][0, 0], np.float64) for name in wanted)
    s = int(scale.reshape(-1)[0]) if scale.size else 0
    size = (PATCH * s) ** 2
    if s < 2 or components.shape[0] != 4 * size or high.shape != (size, low.shape[1]):
        raise InputError(
            f"not the authors' dictionary: V_pca, dict_lores, dict_hires have shapes "
            f"{components.shape}, {low.shape}, {high.shape} at x{s}; expected (36 s^2, d), "
            "(d, K), (9 s^2, K)"
        )
    kernels = torch.from_numpy(components).T @ gradient_operator(s)
    return {
        "features": kernels.reshape(-1, 1, WINDOW * s, WINDOW * s),
        "low": torch.from_numpy(low).T.contiguous(),
        "high": in_blocks(torch.from_numpy(high).T.contiguous(), s),
    }


def _global(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of GR: `features` (d, 1, 5s, 5s) and `regressor` (d, 9 s^2) of a dictionary."""
    atoms = dictionary(arrays)
    regressor = global_regressor(atoms["low"], atoms["high"])
    return {"features": atoms["features"], "regressor": regressor}


def _anchored(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of ANR from a dictionary.

    Returns:
        `features` (d, 1, 5s, 5s), `anchors` (K, d), `regressors` (K, d, 9 s^2).
    """
    atoms = dictionary(arrays)
    regressors = neighbourhood_regressors(atoms["low"], atoms["high"])
    return {"features": atoms["features"], "anchors": atoms["low"], "regressors": regressors}


# Weights in the package
def compact(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half or a quarter of their size: 16-bit floats, 8-bit regressors.

    A regressor is stored as integers from -127 to 127 times its own `step`. Features keep their
    dtype: the taps of a feature sum to 0, and rounding them would give a flat image texture.

    Args:
        state: state dict of a `Dictionary` or of an `AnchoredRegression`.

    Returns:
        The same names and shapes. If `state` has regressors (K, d, 9 s^2), they are int8, and
        `step` (K,) is added.
    """
    small = {name: tensor.half() for name, tensor in state.items()} | {
        "features": state["features"]
    }
    if "regressors" in state:
        regressors = state["regressors"]
        step = (regressors.abs().amax((1, 2)) / 127).float()  # (K,)
        small["step"] = step
        small["regressors"] = (regressors / step[:, None, None]).round().to(torch.int8)
    return small


def _whole(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of A+, float32, from the layout of `compact`.

    Returns:
        `features` (d, 1, 5s, 5s), `anchors` (K, d), `regressors` (K, d, 9 s^2).

    Raises:
        InputError: another layout, or shapes that do not fit each other.
    """
    if set(arrays) != _COMPACT:
        raise InputError(
            "a dictionary has no regressors of A+; learn them from it: sisrbench train a-plus "
            "--from k-svd@FILE"
        )
    step, regressors = arrays["step"], arrays["regressors"]
    if step.dim() != 1 or regressors.dim() != 3 or len(step) != len(regressors):
        raise InputError(
            f"not compact weights of A+: regressors have shape {tuple(regressors.shape)}, step "
            f"{tuple(step.shape)}; expected (K, d, p) and (K,)"
        )
    whole = {name: arrays[name].float() for name in ("features", "anchors")}
    return {**whole, "regressors": regressors.float() * step[:, None, None].float()}


# Methods and recipes
_DICTIONARY = {
    "step": 2,  # LR pixels between patches: a sparse grid makes K-SVD quick, as in their program
    "features": _FEATURES,
    "sparsity": 3,  # atoms in the code of a patch
    "iterations": 20,  # of K-SVD
}


_REGRESSORS = {
    **_DICTIONARY,
    "levels": 12,  # sizes of each image in the pyramid
    "ratio": 0.98,  # size of a level relative to the level before
    "samples": 5_000_000,
    "neighbours": 2048,  # samples per regressor
    "penalty": 0.1,  # of ridge regression
    "weak": 0.1,  # features shorter than this (images in [0, 1]) do not scale their HR patch
}


def _learn_global(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """State dict of GR (shapes as in `_global`), from the start weights or a learned dictionary."""
    return _global(inputs.start or (yield from learn_dictionary(inputs)))


def _learn_anchored(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """State dict of ANR (shapes as in `_anchored`), from the start weights or a new dictionary."""
    return _anchored(inputs.start or (yield from learn_dictionary(inputs)))


_LEARN = {
    "k-svd": learn_dictionary,
    "ne-lle": learn_dictionary,
    "ne-nnls": learn_dictionary,
    "gr": _learn_global,
    "anr": _learn_anchored,
    "a-plus": learn_regressors,
}


_CONVERT: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Tensor]], frozenset[str]]] = {
    "gr": (_global, _ATOMS),
    "anr": (_anchored, _ATOMS),
    "a-plus": (_whole, _COMPACT),
}


_SETTINGS = {
    "k-svd": {"atoms": 1024, "sparsity": 3},
    "ne-lle": {"atoms": 1024, "neighbours": 24},
    "ne-nnls": {"atoms": 1024, "neighbours": 24},
    "gr": {"atoms": 1024},
    "anr": {"atoms": 1024},
    "a-plus": {"atoms": 1024},
}


def _build(name: str, scale: int, settings: Settings) -> nn.Module:
    atoms = settings["atoms"]
    if name == "k-svd":
        return OrthogonalMatchingPursuit(scale, atoms, settings["sparsity"])
    if name == "ne-lle":
        return LocallyLinear(scale, atoms, settings["neighbours"])
    if name == "ne-nnls":
        return Nonnegative(scale, atoms, settings["neighbours"])
    if name == "gr":
        return Regression(scale)
    return AnchoredRegression(scale, atoms)


def _multiplies(name: str, scale: int, settings: Settings) -> float:
    """Multiplies per patch, which is per LR pixel away from the border.

    The sum of: features (a single convolution), search for atoms, weights of atoms, and the
    regression or the weighted sum of HR atoms.
    """
    d, size, atoms = _FEATURES[scale], (PATCH * scale) ** 2, int(settings["atoms"])
    features, search, regression = d * (WINDOW * scale) ** 2, d * atoms, d * size
    if name == "gr":
        return features + regression
    if name in ("anr", "a-plus"):
        return features + search + regression
    if name == "k-svd":
        return features + int(settings["sparsity"]) * (search + size)
    n = int(settings["neighbours"])
    if name == "ne-lle":  # Cholesky factor of the Gram matrix, and two triangular solves
        weights = (n**3 - n) // 6 + n * (n - 1)
    else:  # correlations with the neighbours; per step, updates of inverse and correlations
        weights = n * d + _MEAN_WORK.steps * _MEAN_WORK.slots * (_MEAN_WORK.slots + n)
    return features + search + n * n * d + weights + n * size


def _weights(name: str) -> Iterator[Weights]:
    """Weights of a method: learned by this project, then published by the authors."""
    # GR, ANR, NE+LLE and NE+NNLS are converted from the dictionary of K-SVD
    owner = "a-plus" if name == "a-plus" else "k-svd"
    for scale in _FEATURES:
        if (owner, scale) in _LEARNED:
            citation = f"by the recipe of {_CITATIONS[owner]}"
            yield learned_here("t91", scale, owner, _LEARNED[owner, scale], citation)
    if name == "a-plus":
        return
    for scale, sha256 in _PUBLISHED.items():
        yield Weights(
            tag="timofte",
            scale=scale,
            origin="github:SachinCoolMaxx/Super-Resolution-Project@"
            "7f079c706c039c7bc3b870d4816d35dd8129810e",
            path=f"AplusCodes_SR/conf_Zeyde_1024_finalx{scale}.mat",
            sha256=sha256,
            licence="research use",
            citation=_ANR + (", retrained 2015" if scale == 2 else ""),
        )


def method(name: str) -> Method:
    """The `Method` of a name in NAMES."""
    is_dictionary = _LEARN[name] is learn_dictionary
    convert, layout = _CONVERT.get(name, (dictionary, frozenset()))
    return Method(
        name=name,
        citation=_CITATIONS[name],
        takes="interpolated",
        channels="luma",
        settings=_SETTINGS[name],
        scales=tuple(_FEATURES),
        smallest=WINDOW,
        varies=name == "ne-nnls",
        build=partial(_build, name),
        convert=convert,
        converts=(layout,) if layout else (),
        default_weights="t91" if name == "a-plus" else "timofte",
        weights=tuple(_weights(name)),
        multiplies=partial(_multiplies, name),
        recipes=(
            Recipe(
                name="t91",
                citation=_CITATIONS["k-svd" if is_dictionary else name],
                data=("t91",),
                learn=_LEARN[name],
                settings=_REGRESSORS if name == "a-plus" else _DICTIONARY,
                starts_from="" if is_dictionary else "k-svd",
            ),
        ),
    )
