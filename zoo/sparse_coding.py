"""SC: sparse coding over a pair of dictionaries, one for LR features and one for HR patches.

Yang, Wright, Huang, Ma: Image Super-Resolution as Sparse Representation of Raw Image Patches, CVPR
2008, and Image Super-Resolution via Sparse Representation, TIP 2010. What is computed is the
authors' program of 2009, by which the tables of Timofte et al. and Dong et al. were made:

- it takes LR, of which it makes its features itself: first and second differences of LR enlarged
  twice; its HR patches and its border hang on LR enlarged by the scale;
- features of 3x3 LR pixels, divided by their norm where that is more than 1, are coded over the
  dictionary by a nonnegative lasso of penalty 0.1, and the same weights are given to HR atoms;
- to which the mean of the patch is added; patches lie at every pixel and are averaged;
- no patch covers the outermost LR pixels: there, SR is LR enlarged by bicubic interpolation.

Three properties of that program make its numbers. Its images are in [0, 1] in those tables, so that
weak patches stay as they are and get fewer atoms, or none (0.13 dB on Set5 at x3 under levels up to
255). Its solver stops at a knot of the lasso's path beyond the penalty (0.08 dB over the solution
at the penalty; see `zoo.nonnegative.solve`). It averages the last row and column of patches twice.
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
"""How much larger the image is that features are taken from."""
PENALTY = 0.1
ATOMS = {2: 1024, 3: 1022, 4: 1024}
"""Of the published dictionaries; two atoms at x3 were never used when it was learned."""
MEAN_WORK = MeanWork(steps=8, slots=7)
"""Of a patch on average, with the published dictionary on Set5 at x3: 7.9 and 7.0."""
_CHUNK = 2048
"""Patches coded at once."""

_CVPR = (
    "Yang et al., Image Super-Resolution as Sparse Representation of Raw Image Patches, CVPR 2008"
)
_TIP = "Yang et al., Image Super-Resolution via Sparse Representation, TIP 2010"
_ORIGIN = "github:SachinCoolMaxx/Super-Resolution-Project@7f079c706c039c7bc3b870d4816d35dd8129810e"
_FILES = {
    2: ("Dictionary2.mat", "74b1d1326447f6245c713051cac1bd26316e20166da1719d2abdd587f9a68601"),
    3: ("Dictionary.mat", "2013ea44f346a00cc60a00a3a3bbb681b3f33518ea4fb2b108c5ab059a1a5a6a"),
    4: ("Dictionary4.mat", "d7a568b372dd7e89d88fb956a85aff3125c6dfdc5568452f2132e5f7a1d8f3ee"),
}


def differences(x: Tensor) -> Tensor:
    """Features of an image (N, 1, H, W): (N, 4, H - 4, W - 4), two pixels in from its border.

    First differences along rows and columns, then second ones, both two pixels apart, with the
    signs of a convolution by [-1, 0, 1] and [1, 0, -2, 0, 1] (CVPR 2008, section 3.2).
    """

    def along(dim: int, offset: int) -> Tensor:
        inner = x.narrow(5 - dim, 2, x.shape[5 - dim] - 4)  # the other of 2 and 3
        return inner.narrow(dim, 2 + offset, x.shape[dim] - 4)

    first = [along(dim, -1) - along(dim, 1) for dim in (3, 2)]
    second = [along(dim, -2) + along(dim, 2) - 2 * along(dim, 0) for dim in (3, 2)]
    return torch.cat(first + second, 1)


class SparseCoding(nn.Module):
    """A dictionary of K atoms, each of LR features and of HR patch."""

    def __init__(self, scale: int, atoms: int) -> None:
        super().__init__()
        self.scale = scale
        low = torch.randn(atoms, 4 * (ZOOM * PATCH) ** 2)
        high = torch.randn(atoms, (scale * PATCH) ** 2)
        self.low = nn.Parameter(normalize(low).reshape(atoms, 4, ZOOM * PATCH, ZOOM * PATCH))
        self.high = nn.Parameter(normalize(high).reshape(atoms, 1, scale * PATCH, scale * PATCH))

    def forward(self, x: Tensor) -> Tensor:
        """SR of LR luma, (N, 1, h, w) in [0, 1]: (N, 1, scale*h, scale*w).

        Raises:
            InputError: the image holds no patch.
        """
        s, (height, width) = self.scale, x.shape[2:]
        refuse_without_patch(height, width)
        rows, columns = height - WINDOW + 1, width - WINDOW + 1
        out = imresize(x, s)
        larger = imresize(x, ZOOM)
        side = ZOOM * PATCH
        seen = unfold(differences(larger), side, stride=ZOOM).transpose(1, 2).flatten(0, 1)
        made = torch.cat([self._patches(some) for some in torch.split(seen, _CHUNK)])
        made = made.reshape(len(x), rows * columns, -1).transpose(1, 2)
        mean = avg_pool2d(larger[..., ZOOM:-ZOOM, ZOOM:-ZOOM], side, stride=ZOOM)
        shares = torch.ones_like(mean[:1])
        shares[..., -1, :] *= 2
        shares[..., :, -1] *= 2
        made = (made + mean.flatten(2)) * shares.flatten(2)
        size = (s * (rows + 2), s * (columns + 2))
        total = fold(made, size, s * PATCH, stride=s)
        layers = fold(shares.flatten(2).expand(-1, made.shape[1], -1), size, s * PATCH, stride=s)
        out[..., s:-s, s:-s] = total / layers
        return out

    def receptive_field_proxy(self) -> nn.Module:
        """A network that looks as far: a patch's features reach 3 LR pixels beyond it."""
        reach = PATCH - 1 + 3
        return nn.Sequential(
            nn.Conv2d(1, 1, 2 * reach + 1, padding=reach), nn.Upsample(scale_factor=self.scale)
        )

    def _patches(self, seen: Tensor) -> Tensor:
        """HR patches without their means, (n, 9 s^2), of features (n, 144)."""
        low, high = self.low.flatten(1), self.high.flatten(1)
        length = seen.square().sum(1, keepdim=True).sqrt().clamp(min=1)
        linear = (seen / length) @ low.T
        weights = solve(self._gram(low), linear, PENALTY, to_knot=True, mean_work=MEAN_WORK)
        return (weights @ high) * length

    @staticmethod
    def _gram(low: Tensor) -> Tensor:
        """Of the dictionary alone, so that no pixel's cost holds it: not counted."""
        return low.new_empty(len(low), len(low)) if low.is_meta else low @ low.T


def from_mat(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of the authors' `.mat` layout: atoms in columns, pictures column by column.

    `Dh` (9 s^2, K) and `Dl` (144, K), the four kinds of features one after the other. Both kinds
    of atoms are of unit length there, which leaves open how strong HR is beside its features. It
    is right at x3; an HR patch of s^2 pixels for each of LR is s times as strong, so that HR atoms
    get length s / 3: without, SR on Set5 is worse than bicubic at x2 and x4 (by 2.9 and 0.3 dB).

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
            f"not the authors' dictionary: {given}; expected Dh (9 s^2, K) and Dl ({taps}, K)"
        )
    ratio = side / (3 * PATCH)
    return {"low": _pictures(arrays["Dl"], 4), "high": ratio * _pictures(arrays["Dh"], 1)}


def _pictures(columns: Any, planes: int) -> Tensor:
    """(planes * side * side, K), each plane column by column, as (K, planes, side, side)."""
    atoms = torch.from_numpy(np.array(columns, np.float32).T.copy())
    side = round((atoms.shape[1] / planes) ** 0.5)
    return atoms.reshape(-1, planes, side, side).transpose(2, 3).contiguous()


def learn(inputs: LearningInputs) -> Generator[Step, None, dict[str, Tensor]]:
    """Both dictionaries as one, of pairs [HR patch / 3s, features / 12] (TIP 2010, section III).

    In turn, all pairs, each of unit length, are coded over the atoms, with codes that are not
    negative, as SR's are, and the atoms are refined. An atom holds how strong HR is beside its
    features, which is kept when its features are brought to unit length.

    Taken from the authors' programs: number of patches, the least variance, transposed patches
    too. Of their penalties, that of SR; theirs for learning differ. The number of iterations is
    ours, not chosen by a test set.

    Raises:
        InputError: the images hold fewer patches than four for each atom.
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
        idle = products.diagonal() == 0
        atoms = refine(atoms, products, targets)
        atoms[idle] = pairs[_draw(inputs, done, len(pairs), int(idle.sum()))]
        state = {"pairs": atoms, "iteration": torch.tensor(done)}
        note = f"RMS error {error:.4f}, {int(idle.sum())} atoms unused"
        yield Step(stage="dictionary", done=done, total=iterations, state=state, note=note)
    side = PATCH * inputs.scale
    high, low = atoms[:, : side**2], atoms[:, side**2 :]
    length = low.norm(dim=1, keepdim=True).clamp(min=1e-6)
    ratio = side / (2 * ZOOM * PATCH)
    return {
        "low": (low / length).reshape(count, 4, ZOOM * PATCH, ZOOM * PATCH),
        "high": (high * ratio / length).reshape(count, 1, side, side),
    }


def _draw(inputs: LearningInputs, iteration: int, size: int, count: int) -> Tensor:
    """`count` different numbers below `size`, by the inputs's seed."""
    random = torch.Generator().manual_seed(inputs.seed + iteration)
    return torch.randperm(size, generator=random)[:count].to(inputs.device)


def _pairs(inputs: LearningInputs) -> Tensor:
    """Patches of all images, (n, 9 s^2 + 144) of unit length, float32; each transposed, too.

    As many as the settings say, spread over the images by their size; of these, those are left
    out whose HR varies less than the settings say, in levels of 1/255.
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
        low = unfold(differences(larger), ZOOM * PATCH, stride=ZOOM)[0].T
        high = unfold(hr[..., s:-s, s:-s], s * PATCH, stride=s)[0].T
        share = settings["patches"] // 2 * image.numel() // area
        chosen = torch.randperm(len(low), generator=random)[:share].to(image.device)
        chosen = chosen[high[chosen].var(1) >= settings["variance"] / 255**2]
        seen = low[chosen].reshape(-1, 4, ZOOM * PATCH, ZOOM * PATCH)
        wanted = high[chosen].reshape(-1, 1, s * PATCH, s * PATCH)
        wanted = wanted - wanted.mean((2, 3), keepdim=True)
        for h, f in ((wanted, seen), (wanted.mT, seen.mT[:, [1, 0, 3, 2]])):
            pair = torch.cat([h.flatten(1) / (s * PATCH), f.flatten(1) / (2 * ZOOM * PATCH)], 1)
            found.append((pair / pair.norm(dim=1, keepdim=True)).float())
    side = 9 * s * s + 4 * (ZOOM * PATCH) ** 2
    return torch.cat(found).to(inputs.device) if found else torch.empty(0, side)


def _statistics(x: Tensor, atoms: Tensor, penalty: float) -> tuple[Tensor, Tensor, float]:
    """Of the codes w of x (N, d): w'w (K, K), w'x (K, d), and the RMS error for each row."""
    gram = atoms @ atoms.T
    products, targets, error = torch.zeros_like(gram), torch.zeros_like(atoms), 0.0
    for part in torch.split(x, _CHUNK):
        codes = solve(gram, part @ atoms.T, penalty)
        products += codes.T @ codes
        targets += codes.T @ part
        error += float((part - codes @ atoms).square().sum())
    return products, targets, (error / len(x)) ** 0.5


def refine(atoms: Tensor, products: Tensor, targets: Tensor) -> Tensor:
    """Atoms (K, d), none longer than 1, with which codes w give more of x.

    Each in turn is the best that there is beside the others as they are (Mairal, Bach, Ponce,
    Sapiro: Online Dictionary Learning for Sparse Coding, ICML 2009, algorithm 2); one that no code
    uses stays.

    Args:
        atoms: before.
        products: w'w, (K, K).
        targets: w'x, (K, d).
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
    """The card of SC."""

    def build(scale: int, settings: Settings) -> nn.Module:
        return SparseCoding(scale, _atoms(scale, settings))

    def multiplies(scale: int, settings: Settings) -> float:
        atoms, taps = _atoms(scale, settings), 4 * (ZOOM * PATCH) ** 2
        path = MEAN_WORK.steps * MEAN_WORK.slots * (atoms + MEAN_WORK.slots)
        return float(atoms * (taps + (PATCH * scale) ** 2) + path)

    return Method(
        name=name,
        citation=_CVPR,
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
