"""SC: sparse coding over a pair of dictionaries, one for LR features and one for HR patches.

Yang, Wright, Huang, Ma: Image Super-Resolution as Sparse Representation of Raw Image Patches, CVPR
2008, and Image Super-Resolution via Sparse Representation, TIP 2010. This file computes SR as the
authors' program of 2009 does, which produced the tables of Timofte et al. and Dong et al. at x3.
That program has no back-projection. Later tables print 1.55 dB more on Set5 x2: see `scsr`, the
program of 2010.

The program's steps:

1. Features are first and second differences of LR enlarged twice. The input is LR itself.
2. The features of a patch of 3x3 LR pixels are divided by their norm if the norm is above 1.
3. They are coded over the LR dictionary by a nonnegative lasso of penalty 0.1.
4. The same weights combine the HR atoms. The mean of the LR patch is added.
5. Patches lie at every LR pixel, and overlapping patches are averaged.
6. No patch covers the outermost LR pixels. There, SR is bicubic interpolation.

The numbers of the tables depend on three properties of the program:

- Images are in [0, 1]. Weak patches therefore keep their norm and get few atoms or none. With
  images in [0, 255], PSNR on Set5 at x3 would be 0.13 dB higher.
- The solver stops at a knot of the lasso's path beyond the penalty (see `zoo.nonnegative.solve`).
  PSNR is 0.08 dB above the solution at the penalty.
- The last row and the last column of patches count twice in the average.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, fold, normalize, unfold

from zoo.errors import InputError
from zoo.method import LearningInputs, Method, Recipe, Settings, Step, Weights
from zoo.nonnegative import MeanWork, solve
from zoo.patches import PATCH, WINDOW, refuse_without_patch
from zoo.resample import imresize

NAMES = ("sc",)

ZOOM = 2
"""Factor by which LR is enlarged before features are computed."""
PENALTY = 0.1
"""Penalty of the lasso on the sum of weights, for features of images in [0, 1]."""
ATOMS = {2: 1024, 3: 1022, 4: 1024}
"""Atoms of the published dictionaries by scale; at x3, two atoms were never used in learning."""
MEAN_WORK = MeanWork(steps=8, slots=7)
"""Work of `solve` per patch, measured on Set5 x3 with the published dictionary: 7.9 and 7.0."""
_CHUNK = 2048
"""Patches coded at once."""

_CVPR = (
    "Yang et al., Image Super-Resolution as Sparse Representation of Raw Image Patches, CVPR 2008"
)
_TIP = "Yang et al., Image Super-Resolution via Sparse Representation, TIP 2010"
_CARD = (
    f"{_CVPR}; the program of 2009, without back-projection, printed by tables of 2013 and 2014 at "
    "x3; see scsr for later tables"
)
_REMARKS = {
    2: "without back-projection, 1.55 dB below the literature's 35.78 dB on Set5 x2, which the "
    "method scsr reaches",
}
"""Remark on the weights by scale; measured under `selfexsr2015`, where x2 gives 34.23 dB."""
_ORIGIN = "github:SachinCoolMaxx/Super-Resolution-Project@7f079c706c039c7bc3b870d4816d35dd8129810e"
_FILES = {
    2: ("Dictionary2.mat", "74b1d1326447f6245c713051cac1bd26316e20166da1719d2abdd587f9a68601"),
    3: ("Dictionary.mat", "2013ea44f346a00cc60a00a3a3bbb681b3f33518ea4fb2b108c5ab059a1a5a6a"),
    4: ("Dictionary4.mat", "d7a568b372dd7e89d88fb956a85aff3125c6dfdc5568452f2132e5f7a1d8f3ee"),
}


def differences(x: Tensor) -> Tensor:
    """Features (N, 4, H - 4, W - 4) of images (N, 1, H, W), without a border of 2 pixels.

    The four features are first differences along rows and columns, then second differences along
    rows and columns. Signs are as in a convolution by [-1, 0, 1] and by [1, 0, -2, 0, 1].

    Source: CVPR 2008, section 3.2.
    """

    def along(dim: int, offset: int) -> Tensor:
        inner = x.narrow(5 - dim, 2, x.shape[5 - dim] - 4)  # crops the other image axis, 2 or 3
        return inner.narrow(dim, 2 + offset, x.shape[dim] - 4)

    first = [along(dim, -1) - along(dim, 1) for dim in (3, 2)]
    second = [along(dim, -2) + along(dim, 2) - 2 * along(dim, 0) for dim in (3, 2)]
    return torch.cat(first + second, 1)


class SparseCoding(nn.Module):
    """SR by coding LR features over K coupled atoms.

    State: `low` (K, 4, 6, 6), LR features; `high` (K, 1, 3s, 3s), HR patches without their mean.
    """

    def __init__(self, scale: int, atoms: int) -> None:
        super().__init__()
        self.scale = scale
        low = torch.randn(atoms, 4 * (ZOOM * PATCH) ** 2)
        high = torch.randn(atoms, (scale * PATCH) ** 2)
        self.low = nn.Parameter(normalize(low).reshape(atoms, 4, ZOOM * PATCH, ZOOM * PATCH))
        self.high = nn.Parameter(normalize(high).reshape(atoms, 1, scale * PATCH, scale * PATCH))

    def forward(self, x: Tensor) -> Tensor:
        """SR (N, 1, s*h, s*w) of LR luma x, (N, 1, h, w) in [0, 1].

        Raises:
            InputError: the image holds no patch.
        """
        s, (height, width) = self.scale, x.shape[2:]
        refuse_without_patch(height, width)
        rows, columns = height - WINDOW + 1, width - WINDOW + 1
        out = imresize(x, s)  # (N, 1, s*h, s*w)
        larger = imresize(x, ZOOM)  # (N, 1, 2h, 2w)
        side = ZOOM * PATCH
        # (N * rows * columns, 144)
        seen = unfold(differences(larger), side, stride=ZOOM).transpose(1, 2).flatten(0, 1)
        made = torch.cat([self._patches(some) for some in torch.split(seen, _CHUNK)])
        made = made.reshape(len(x), rows * columns, -1).transpose(1, 2)  # (N, 9 s^2, patches)
        # (N, 1, rows, columns), of the 6x6 pixels of each patch
        mean = avg_pool2d(larger[..., ZOOM:-ZOOM, ZOOM:-ZOOM], side, stride=ZOOM)
        shares = torch.ones_like(mean[:1])  # weights in the average, (1, 1, rows, columns)
        # the authors' program adds the last row and column of patches twice
        shares[..., -1, :] *= 2
        shares[..., :, -1] *= 2
        made = (made + mean.flatten(2)) * shares.flatten(2)
        size = (s * (rows + 2), s * (columns + 2))
        total = fold(made, size, s * PATCH, stride=s)
        layers = fold(shares.flatten(2).expand(-1, made.shape[1], -1), size, s * PATCH, stride=s)
        out[..., s:-s, s:-s] = total / layers
        return out

    def receptive_field_proxy(self) -> nn.Module:
        """A convolutional network (N, 1, h, w) -> (N, 1, s*h, s*w) with this receptive field.

        The receptive field of `forward` itself cannot be traced, because `forward` makes a list of
        patches.
        """
        # a pixel lies up to PATCH - 1 from the far end of its patches; features reach 3 LR pixels
        # beyond a patch
        reach = PATCH - 1 + 3
        return nn.Sequential(
            nn.Conv2d(1, 1, 2 * reach + 1, padding=reach), nn.Upsample(scale_factor=self.scale)
        )

    def _patches(self, seen: Tensor) -> Tensor:
        """HR patches (n, 9 s^2) without their means, for features (n, 144)."""
        low, high = self.low.flatten(1), self.high.flatten(1)
        length = seen.square().sum(1, keepdim=True).sqrt().clamp(min=1)
        linear = (seen / length) @ low.T  # (n, K)
        weights = solve(self._gram(low), linear, PENALTY, to_knot=True, mean_work=MEAN_WORK)
        return (weights @ high) * length

    @staticmethod
    def _gram(low: Tensor) -> Tensor:
        """Gram matrix (K, K) of the LR atoms (K, 144).

        The matrix depends on the dictionary only, so it is no cost per pixel. On the meta device,
        where costs are counted, it is therefore allocated without a multiply.
        """
        return low.new_empty(len(low), len(low)) if low.is_meta else low @ low.T


def from_mat(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of a `SparseCoding` from the authors' `.mat` layout.

    In the authors' files, LR and HR atoms both have unit length. The ratio of HR to features is
    then right at x3 only. An HR patch has s^2 pixels per LR pixel, so its norm grows with s. The HR
    atoms therefore get length s / 3. Without this, SR on Set5 is worse than bicubic by 2.9 dB at x2
    and by 0.3 dB at x4.

    Args:
        arrays: `Dh` (9 s^2, K), HR atoms, and `Dl` (144, K), LR atoms with the four kinds of
            features one after the other. Patches are stored column by column.

    Returns:
        `low` (K, 4, 6, 6) and `high` (K, 1, 3s, 3s), float32.

    Raises:
        InputError: a name is missing or surplus, or an array has another shape.
    """
    given = {name: np.shape(array) for name, array in arrays.items()}
    high, low = given.get("Dh", ()), given.get("Dl", ())
    side = round(high[0] ** 0.5) if len(high) == 2 else 0
    taps = 4 * (ZOOM * PATCH) ** 2
    if (
        set(given) != {"Dh", "Dl"}
        or not side
        or side % PATCH
        or high != (side * side, high[1])
        or low != (taps, high[1])
    ):
        raise InputError(
            f"not the authors' dictionary: shapes {given}; expected Dh (9 s^2, K) and "
            f"Dl ({taps}, K)"
        )
    ratio = side / (3 * PATCH)
    return {"low": pictures(arrays["Dl"], 4), "high": ratio * pictures(arrays["Dh"], 1)}


def pictures(columns: Any, planes: int) -> Tensor:
    """Atoms (K, planes, side, side), float32, from columns (planes * side * side, K).

    Each plane is stored column by column, as MATLAB does.
    """
    atoms = torch.from_numpy(np.array(columns, np.float32).T.copy())
    side = round((atoms.shape[1] / planes) ** 0.5)
    return atoms.reshape(-1, planes, side, side).transpose(2, 3).contiguous()


def learn(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """State dict of a `SparseCoding`, learned from images (TIP 2010, section III).

    LR and HR atoms are learned together, from joint vectors [HR patch / 3s, features / 12] of unit
    length. Each iteration codes all vectors over the atoms with nonnegative codes, as SR does, and
    then refines the atoms. An atom keeps the ratio of its HR part to its features when the features
    are scaled to unit length.

    From the authors' programs: the number of patches, the least variance, and the use of transposed
    patches. The penalty is the authors' penalty for SR; their penalties for learning differ. The
    number of iterations is this project's choice, made without a test set.

    Returns:
        `low` (K, 4, 6, 6), each atom of unit length, and `high` (K, 1, 3s, 3s).

    Raises:
        InputError: the images hold fewer than four patches for each atom.
    """
    settings = inputs.settings
    count, iterations = _atoms(inputs.scale, inputs.method.settings), settings["iterations"]
    pairs = _pairs(inputs)
    if len(pairs) < 4 * count:
        raise InputError(
            f"the images hold {len(pairs)} patches that are not flat at x{inputs.scale}; give "
            f"enough for {4 * count}, four for each atom"
        )
    first = int(inputs.saved["iteration"]) if inputs.saved else 0
    atoms = inputs.saved["pairs"] if inputs.saved else pairs[_draw(inputs, 0, len(pairs), count)]
    for done in range(first + 1, iterations + 1):
        products, targets, error = _statistics(pairs, atoms, settings["penalty"])
        idle = products.diagonal() == 0  # atoms that no code uses, (K,)
        atoms = refine(atoms, products, targets)
        atoms[idle] = pairs[_draw(inputs, done, len(pairs), int(idle.sum()))]
        state = {"pairs": atoms, "iteration": torch.tensor(done)}
        note = f"RMS error {error:.4f}, {int(idle.sum())} atoms unused"
        yield Step(stage="dictionary", done=done, total=iterations, state=state, note=note)
    side = PATCH * inputs.scale
    high, low = atoms[:, : side**2], atoms[:, side**2 :]  # (K, 9 s^2), (K, 144)
    length = low.norm(dim=1, keepdim=True).clamp(min=1e-6)
    ratio = side / (2 * ZOOM * PATCH)  # undoes the divisors 3s and 12 of a joint vector
    return {
        "low": (low / length).reshape(count, 4, ZOOM * PATCH, ZOOM * PATCH),
        "high": (high * ratio / length).reshape(count, 1, side, side),
    }


def _draw(inputs: LearningInputs, iteration: int, size: int, count: int) -> Tensor:
    """`count` different indices below `size`, shape (count,), drawn by seed and iteration."""
    random = torch.Generator().manual_seed(inputs.seed + iteration)
    return torch.randperm(size, generator=random)[:count].to(inputs.device)


def _pairs(inputs: LearningInputs) -> Tensor:
    """Joint vectors (n, 9 s^2 + 144) of patches of all images, of unit length, float32.

    Each patch is used as it is and transposed. The setting `patches` is the number of vectors,
    spread over the images by their area. Patches are then dropped if the variance of HR is below
    the setting `variance`, in squared levels of 1/255.
    """
    s, settings = inputs.scale, inputs.settings
    random = torch.Generator().manual_seed(inputs.seed)
    area = sum(image.numel() for image in inputs.images)
    found = []
    for image in inputs.images:
        rows, columns = (length // s for length in image.shape)
        if min(rows, columns) < WINDOW:
            continue
        hr = image[None, None, : s * rows, : s * columns]
        larger = imresize(imresize(hr, Fraction(1, s)), ZOOM)
        low = unfold(differences(larger), ZOOM * PATCH, stride=ZOOM)[0].T  # (patches, 144)
        high = unfold(hr[..., s:-s, s:-s], s * PATCH, stride=s)[0].T  # (patches, 9 s^2)
        # half of the vectors: each patch gives two
        share = settings["patches"] // 2 * image.numel() // area
        chosen = torch.randperm(len(low), generator=random)[:share].to(image.device)
        chosen = chosen[high[chosen].var(1) >= settings["variance"] / 255**2]
        seen = low[chosen].reshape(-1, 4, ZOOM * PATCH, ZOOM * PATCH)
        wanted = high[chosen].reshape(-1, 1, s * PATCH, s * PATCH)
        wanted = wanted - wanted.mean((2, 3), keepdim=True)
        # a transposed patch has differences along rows and along columns exchanged
        for h, f in ((wanted, seen), (wanted.mT, seen.mT[:, [1, 0, 3, 2]])):
            pair = torch.cat([h.flatten(1) / (s * PATCH), f.flatten(1) / (2 * ZOOM * PATCH)], 1)
            found.append((pair / pair.norm(dim=1, keepdim=True)).float())
    side = 9 * s * s + 4 * (ZOOM * PATCH) ** 2
    return torch.cat(found).to(inputs.device) if found else torch.empty(0, side)


def _statistics(x: Tensor, atoms: Tensor, penalty: float) -> tuple[Tensor, Tensor, float]:
    """w'w (K, K), w'x (K, d) and the RMS error, for the codes w (N, K) of x (N, d).

    Args:
        x: vectors, (N, d).
        atoms: dictionary, (K, d).
        penalty: of the nonnegative lasso.
    """
    gram = atoms @ atoms.T
    products, targets, error = torch.zeros_like(gram), torch.zeros_like(atoms), 0.0
    for part in torch.split(x, _CHUNK):
        codes = solve(gram, part @ atoms.T, penalty)
        products += codes.T @ codes
        targets += codes.T @ part
        error += float((part - codes @ atoms).square().sum())
    return products, targets, (error / len(x)) ** 0.5


def refine(atoms: Tensor, products: Tensor, targets: Tensor) -> Tensor:
    """Refined atoms (K, d), of length at most 1, that reduce the error of the codes w of x.

    Each atom in turn becomes the best atom for fixed codes and fixed other atoms. An atom that no
    code uses stays unchanged.

    Args:
        atoms: dictionary before, (K, d).
        products: w'w, (K, K).
        targets: w'x, (K, d).

    Source: Mairal, Bach, Ponce, Sapiro: Online Dictionary Learning for Sparse Coding, ICML 2009,
    algorithm 2.
    """
    atoms = atoms.clone()
    for k in range(len(atoms)):
        if products[k, k] > 0:
            atoms[k] += (targets[k] - products[k] @ atoms) / products[k, k]
            atoms[k] /= atoms[k].norm().clamp(min=1)
    return atoms


def _atoms(scale: int, settings: Settings) -> int:
    return ATOMS[scale] if settings["atoms"] == "published" else int(settings["atoms"])


def method(name: str) -> Method:
    """SC as a `Method`."""

    def build(scale: int, settings: Settings) -> nn.Module:
        return SparseCoding(scale, _atoms(scale, settings))

    def multiplies(scale: int, settings: Settings) -> float:
        atoms, taps = _atoms(scale, settings), 4 * (ZOOM * PATCH) ** 2
        path = MEAN_WORK.steps * MEAN_WORK.slots * (atoms + MEAN_WORK.slots)
        return float(atoms * (taps + (PATCH * scale) ** 2) + path)

    return Method(
        name=name,
        citation=_CARD,
        takes="LR",
        channels="luma",
        settings={"atoms": "published"},
        build=build,
        multiplies=multiplies,
        scales=tuple(_FILES),
        smallest=WINDOW,
        varies=True,
        convert=from_mat,
        default_weights="yang",
        weights=tuple(
            Weights(
                tag="yang",
                scale=scale,
                origin=_ORIGIN,
                path=f"AplusCodes_SR/CVPR08-SR/Data/Dictionary/{path}",
                sha256=sha256,
                licence="research use",
                citation=_CVPR,
                remark=_REMARKS.get(scale, ""),
            )
            for scale, (path, sha256) in _FILES.items()
        ),
        recipes=(
            Recipe(
                name="t91",
                citation=_TIP,
                data=("t91",),
                learn=learn,
                settings={"patches": 50_000, "variance": 10, "penalty": PENALTY, "iterations": 20},
            ),
        ),
    )
