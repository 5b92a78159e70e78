"""Batches against crops, flips and turns made one by one.

Many pictures here say in their pixels where each is: red is the picture's number, green the row,
blue the column. So a patch shows where it was cut and how it was turned, whatever drew it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.color import rgb2ycbcr
from torch import Tensor, nn

import zoo
from bench import datasets, images
from bench.progress import Progress
from bench.training.feed import Batch, Feed, Picture, generator, refuse_small
from bench.training.processes import Processes
from zoo.errors import InputError
from zoo.method import Method
from zoo.recipe import Descent
from zoo.resample import imresize, round_half_up

Array = NDArray[np.float32]
CPU = torch.device("cpu")
ALL = slice(None)
PLAIN = Descent(patch=4, rate=1.0, batch=64, updates=10, degradation="opencv:nearest")


def method(
    takes: Literal["LR", "interpolated"] = "LR", channels: Literal["luma", "RGB", "any"] = "RGB"
) -> Method:
    return Method(
        name="toy",
        citation="me",
        takes=takes,
        channels=channels,
        build=lambda scale, settings: nn.Identity(),
    )


def feed(
    pictures: Sequence[Picture],
    descent: Descent = PLAIN,
    card: Method | None = None,
    scale: int = 2,
    seed: int = 0,
) -> Feed:
    return Feed(pictures, card or method(), descent, scale, seed, CPU)


def places(height: int, width: int, number: int = 0) -> Picture:
    """A picture whose pixels say where they are."""
    row, column = np.mgrid[:height, :width]
    planes = np.stack([np.full_like(row, number), row, column]).astype(np.uint8)
    return Picture(name=f"places {number}", hr=torch.from_numpy(planes))


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Picture:
    levels = np.random.default_rng(seed).integers(0, 256, (channels, height, width))
    return Picture(name=f"noise {seed}", hr=torch.from_numpy(levels.astype(np.uint8)))


def turned(patch: NDArray[Any]) -> list[NDArray[Any]]:
    """A (C, P, P) patch in all eight positions; the second is flipped left to right."""
    quarters = [np.rot90(patch, k, (1, 2)) for k in range(4)]
    found = [position for quarter in quarters for position in (quarter, quarter[..., ::-1])]
    assert len({position.tobytes() for position in found}) == 8
    return found


def examples(batch: Batch) -> list[tuple[Array, Array]]:
    assert batch.x.dtype == batch.hr.dtype == torch.float32
    return list(zip(batch.x.numpy(), batch.hr.numpy(), strict=True))


def origin(hr: Array) -> tuple[int, int, int]:
    """Number of the picture, top and left, of a patch of `places`."""
    levels = np.rint(hr * 255).astype(int)
    numbers = np.unique(levels[0])
    assert len(numbers) == 1  # from one picture
    return int(numbers[0]), int(levels[1].min()), int(levels[2].min())


def origins(batches: Sequence[Batch]) -> list[tuple[int, int, int]]:
    return [origin(hr) for batch in batches for _, hr in examples(batch)]


# What a patch is


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("takes", ["LR", "interpolated"])
def test_patches_are_crops_in_eight_positions_lr_and_hr_alike(takes: Any, scale: int) -> None:
    pictures = [places(41, 53, 0), places(33, 24, 1), places(26, 70, 2)]
    descent = replace(PLAIN, augment="flips and turns", degradation="opencv:area")
    batches = [feed(pictures, descent, method(takes), scale).batch(n, ALL) for n in range(6)]
    seen: Counter[int] = Counter()
    factor = scale if takes == "LR" else 1
    for batch in batches:
        assert batch.x.shape == (64, 3, 4, 4)
        assert batch.hr.shape == (64, 3, 4 * factor, 4 * factor)
        for x, hr in examples(batch):
            number, top, left = origin(hr)
            pixels = pictures[number].hr.numpy().transpose(1, 2, 0)
            height, width = (side - side % scale for side in pixels.shape[:2])
            pixels = pixels[:height, :width]
            lr = cv2.resize(pixels, (width // scale, height // scale), interpolation=cv2.INTER_AREA)
            if takes == "interpolated":
                lr = cv2.resize(lr, (width, height), interpolation=cv2.INTER_CUBIC)
            side = 4 * factor
            target = pixels[top : top + side, left : left + side].transpose(2, 0, 1)
            assert top % factor == left % factor == 0
            row, column = top // factor, left // factor
            source = lr[row : row + 4, column : column + 4].transpose(2, 0, 1)
            found = [np.array_equal(one / np.float32(255), hr) for one in turned(target)]
            assert found.count(True) == 1
            position = found.index(True)
            assert np.array_equal(turned(source)[position] / np.float32(255), x)
            seen[position] += 1
    # 384 draws, of which each position has 48 with a deviation of 6.5
    assert len(seen) == 8
    assert all(abs(count - 48) < 5 * 6.5 for count in seen.values())


def test_a_pixel_of_lr_is_the_mean_of_its_block_in_every_position() -> None:
    picture = noise(40, 36)
    picture = replace(picture, hr=picture.hr // 9 * 9)  # so that no mean is rounded
    descent = replace(PLAIN, augment="flips and turns", degradation="opencv:area")
    for x, hr in examples(feed([picture], descent, scale=3).batch(0, ALL)):
        blocks = np.rint(hr * 255).reshape(3, 4, 3, 4, 3).mean((2, 4))
        assert np.array_equal(np.rint(x * 255), blocks)


@pytest.mark.parametrize(("augment", "positions"), [("none", {0}), ("flips", {0, 1})])
def test_augmenting_makes_no_other_positions_than_it_says(
    augment: Any, positions: set[int]
) -> None:
    descent = replace(PLAIN, augment=augment)
    seen: Counter[int] = Counter()
    picture = places(30, 40)
    for _, hr in examples(feed([picture], descent).batch(0, ALL)):
        _, top, left = origin(hr)
        crop = picture.hr[:, top : top + 8, left : left + 8].numpy()
        found = [np.array_equal(one / np.float32(255), hr) for one in turned(crop)]
        seen[found.index(True)] += 1
    assert set(seen) == positions
    assert all(abs(count - 64 / len(positions)) <= 20 for count in seen.values())


def test_every_place_is_drawn_as_often() -> None:
    # 4x4 LR pixels of 6x5 at x2: 3 rows and 2 columns of places
    found = [feed([places(13, 10)]).batch(n, ALL) for n in range(20)]
    seen = Counter((top, left) for _, top, left in origins(found))
    assert set(seen) == {(top, left) for top in (0, 2, 4) for left in (0, 2)}
    # 1280 draws, of which each has 213 with a deviation of 13.3
    assert all(abs(count - 213) < 5 * 13.3 for count in seen.values())


def test_an_image_of_one_patch_is_enough() -> None:
    assert set(origins([feed([places(9, 8)]).batch(0, ALL)])) == {(0, 0, 0)}


@pytest.mark.parametrize(("draw", "share"), [("images", 1 / 2), ("places", 78 / (78 + 13 * 33))])
def test_large_images_come_as_often_or_by_their_places(draw: Any, share: float) -> None:
    pictures = [places(18, 32, 0), places(32, 72, 1)]  # 6x13 and 13x33 places at x2
    fed = feed(pictures, replace(PLAIN, draw=draw))
    seen = Counter(number for number, _, _ in origins([fed.batch(n, ALL) for n in range(30)]))
    deviation = (1920 * share * (1 - share)) ** 0.5
    assert abs(seen[0] - 1920 * share) < 5 * deviation


# What a batch depends on


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.x, other.x) and torch.equal(one.hr, other.hr) and one.scale == other.scale
    )


@pytest.mark.parametrize("stride", [0, 3])
def test_a_batch_depends_on_the_seed_and_the_update_alone(stride: int) -> None:
    pictures = [noise(40, 50), noise(30, 30, seed=1)]
    descent = replace(PLAIN, stride=stride, augment="flips and turns")
    one, again, other = (feed(pictures, descent, seed=seed) for seed in (0, 0, 1))
    for update in (3, 0, 500):
        torch.manual_seed(update)
        assert same(one.batch(update, ALL), again.batch(update, ALL))
        assert not same(one.batch(update, ALL), other.batch(update, ALL))
    assert same(one.batch(3, ALL), again.batch(3, ALL))
    assert not same(one.batch(3, ALL), one.batch(4, ALL))


@pytest.mark.parametrize("choices", [{}, {"stride": 3}, {"scales": (2, 3), "mixing": "updates"}])
@pytest.mark.parametrize("count", [2, 4])
def test_the_parts_of_processes_make_up_the_batch(choices: dict[str, Any], count: int) -> None:
    descent = replace(PLAIN, augment="flips and turns", **choices)
    fed = feed([noise(40, 50), noise(30, 30, seed=1)], descent)
    for update in (0, 7):
        whole = fed.batch(update, Processes().part(64))
        parts = [fed.batch(update, Processes(count, rank).part(64)) for rank in range(count)]
        joined = Batch(
            x=torch.cat([part.x for part in parts]),
            hr=torch.cat([part.hr for part in parts]),
            scale=parts[0].scale,
        )
        assert len(whole.x) == 64
        assert {len(part.x) for part in parts} == {64 // count}
        assert {part.scale for part in parts} == {whole.scale}
        assert same(joined, whole)


def test_neighbouring_seeds_and_numbers_draw_otherwise() -> None:
    drawn = {
        (seed, number): float(
            torch.rand((), generator=generator(seed, number), dtype=torch.float64)
        )
        for seed in range(5)
        for number in range(400)
    }
    assert len(set(drawn.values())) == len(drawn)
    values = np.array(list(drawn.values()))
    # uniform: mean 1/2 with a deviation of sqrt(1/12/2000), neighbours not correlated
    assert abs(values.mean() - 0.5) < 5 * 0.0065
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 5 * 0.0224


# Grids


def grid_of(sizes: Sequence[tuple[int, int]], patch: int, stride: int) -> set[tuple[int, int, int]]:
    found = set()
    for number, (height, width) in enumerate(sizes):
        top = 0
        while top + patch <= height:
            left = 0
            while left + patch <= width:
                found.add((number, top, left))
                left += stride
            top += stride
    return found


def test_a_grid_gives_every_patch_once_an_epoch_in_another_order() -> None:
    # at x3 modcrop leaves 18x30, where rows fit just so, and 15x12, where pixels are left over
    pictures = [places(19, 32, 0), places(15, 14, 1)]
    descent = replace(PLAIN, patch=8, stride=5, batch=7)
    card = method("interpolated")
    fed = feed(pictures, descent, card, scale=3)
    expected = grid_of([(18, 30), (15, 12)], 8, 5)
    assert fed.examples == len(expected) == 3 * 5 + 2 * 1
    found = origins([fed.batch(n, ALL) for n in range(10)])  # 70 patches of epochs of 17
    epochs = [found[k : k + 17] for k in range(0, 68, 17)]
    for epoch in epochs:
        assert set(epoch) == expected
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = origins([feed(pictures, descent, card, 3, seed=1).batch(n, ALL) for n in range(3)])
    assert other[:17] != epochs[0]
    large = feed(pictures, replace(descent, batch=70), card, scale=3)
    assert origins([large.batch(0, ALL)]) == found


def test_a_grid_counts_pixels_of_the_networks_input() -> None:
    fed = feed([places(41, 60)], replace(PLAIN, patch=6, stride=5, batch=9), scale=3)
    # LR is 13x20: rows 0 and 5, columns 0, 5 and 10
    assert fed.examples == 6
    found = origins([fed.batch(n, ALL) for n in range(2)])
    tops_and_lefts = {(0, 3 * top, 3 * left) for top in (0, 5) for left in (0, 5, 10)}
    assert Counter(found).keys() == tops_and_lefts
    assert set(Counter(found).values()) == {3}


@pytest.fixture(scope="module")
def t91(mirror: Path) -> list[Picture]:
    dataset = datasets.load("t91", Progress())
    return [
        Picture(
            name=image.name,
            hr=images.to_tensor(images.decode(image.path), CPU).to(torch.uint8),
        )
        for image in dataset.images
    ]


@pytest.mark.parametrize(
    ("patch", "stride", "scale", "count"),
    [
        (33, 14, 3, 21_884),  # the ECCV paper says 24,800, its authors' generate_train.m this
        (32, 18, 2, 13_699),  # deepsense.ai's "14k": what x2 and images as they are give
        (32, 18, 4, 13_584),  # and what is left at its own x4, whose modcrop takes more away
    ],
)
def test_grids_of_t91_have_as_many_patches_as_is_known(
    t91: list[Picture], patch: int, stride: int, scale: int, count: int
) -> None:
    gray = [replace(picture, hr=picture.hr[1:2]) for picture in t91]
    descent = replace(PLAIN, patch=patch, stride=stride)
    assert len(gray) == 91
    assert feed(gray, descent, method("interpolated", "luma"), scale).examples == count


def test_the_grids_of_srcnns_recipes_are_these() -> None:
    recipes = {recipe.name: recipe.learn for recipe in zoo.load("srcnn-9-1-5")[0].recipes}
    for name, grid in (("eccv2014", (33, 14)), ("deepsense2017", (32, 18))):
        learn = recipes[name]
        assert isinstance(learn, Descent)
        assert (learn.patch, learn.stride) == grid


def test_t91_as_it_is_has_13699_patches_of_32_by_18(t91: list[Picture]) -> None:
    sizes = [(picture.hr.shape[-2], picture.hr.shape[-1]) for picture in t91]
    assert len(grid_of(sizes, 32, 18)) == 13_699
    assert len(grid_of(sizes, 33, 14)) == 22_092


# Several scales, several degradations


def scale_of(x: Array, hr: Array) -> int:
    """The scale at which `x` is the nearest neighbour of a patch of `places`."""
    levels, target = np.rint(x * 255).astype(int), np.rint(hr * 255).astype(int)
    found = [s for s in (2, 3, 4) if np.array_equal(levels[1:], target[1:] // s * s)]
    assert len(found) == 1
    return found[0]


def test_mixed_by_patches_each_has_a_scale_of_its_own() -> None:
    descent = replace(PLAIN, patch=9, scales=(2, 3, 4), mixing="patches")
    fed = feed([places(60, 70)], descent, method("interpolated"))
    seen = Counter(scale_of(x, hr) for n in range(5) for x, hr in examples(fed.batch(n, ALL)))
    # 320 draws, of which each scale has 107 with a deviation of 8.4
    assert set(seen) == {2, 3, 4}
    assert all(abs(count - 107) < 5 * 8.4 for count in seen.values())
    assert len({scale_of(x, hr) for x, hr in examples(fed.batch(0, ALL))}) == 3


@pytest.mark.parametrize("takes", ["LR", "interpolated"])
def test_mixed_by_updates_a_batch_has_one_scale(takes: Any) -> None:
    descent = replace(PLAIN, patch=9, scales=(2, 3, 4), mixing="updates", batch=8)
    pictures = [places(60, 70, 0), places(50, 90, 1)]
    fed = feed(pictures, descent, method(takes))
    seen: Counter[int] = Counter()
    for update in range(90):
        batch = fed.batch(update, ALL)
        seen[batch.scale] += 1
        for x, hr in examples(batch):
            if takes == "LR":
                assert hr.shape[-1] == 9 * batch.scale
                assert np.array_equal(x, hr[:, :: batch.scale, :: batch.scale])
            else:
                assert scale_of(x, hr) == batch.scale
        assert len({origin(hr)[0] for _, hr in examples(batch)}) <= 2
    # 90 draws, of which each scale has 30 with a deviation of 4.5
    assert set(seen) == {2, 3, 4}
    assert all(abs(count - 30) < 5 * 4.5 for count in seen.values())


def test_several_degradations_are_drawn_patch_by_patch() -> None:
    descent = replace(PLAIN, degradation="opencv:nearest | pillow:box")
    seen: Counter[bool] = Counter()
    for x, hr in examples(feed([noise(60, 60)], descent).batch(0, ALL)):
        nearest = np.array_equal(x, hr[:, ::2, ::2])
        mean = hr.reshape(3, 4, 2, 4, 2).mean((2, 4))
        assert nearest != (np.abs(x - mean).max() < 1.5 / 255)  # rounded twice
        seen[nearest] += 1
    assert set(seen) == {False, True}
    assert all(abs(count - 32) < 5 * 4 for count in seen.values())


# Luma, RGB and gray


def whole_patch(picture: Picture, card: Method, degradation: str) -> tuple[Array, Array, Feed]:
    """The picture as the only patch of 8x8 pixels at x2."""
    side = 8 if card.takes == "interpolated" else 4
    descent = replace(PLAIN, patch=side, batch=1, degradation=degradation)
    fed = feed([picture], descent, card)
    [(x, hr)] = examples(fed.batch(0, ALL))
    return x, hr, fed


def stores(fed: Feed) -> tuple[torch.dtype, torch.dtype]:
    return fed._inputs._flat.dtype, fed._targets._flat.dtype


def test_a_luma_method_learns_rounded_luma_from_lr_in_double() -> None:
    picture = noise(8, 8)
    y = np.floor(rgb2ycbcr(picture.hr.numpy().transpose(1, 2, 0))[..., 0] + 0.5)[None]
    lr = imresize(torch.from_numpy(y), Fraction(1, 2), edges="mirror")
    x, hr, fed = whole_patch(picture, method("LR", "luma"), "matlab:bicubic")
    assert np.array_equal(hr, y.astype(np.float32) / np.float32(255))
    assert np.array_equal(x, lr.float().numpy() / np.float32(255))
    assert not np.array_equal(np.rint(x * 255), x * 255)
    assert stores(fed) == (torch.float32, torch.uint8)

    up = imresize(lr, 2, edges="mirror")
    x, hr, fed = whole_patch(picture, method("interpolated", "luma"), "matlab:bicubic")
    assert np.array_equal(x, up.float().numpy() / np.float32(255))
    assert stores(fed) == (torch.float32, torch.uint8)


def test_an_rgb_method_learns_from_lr_in_whole_levels() -> None:
    picture = noise(8, 8)
    lr = imresize(picture.hr.double(), Fraction(1, 2), edges="mirror")
    x, hr, fed = whole_patch(picture, method(), "matlab:bicubic")
    assert np.array_equal(x, round_half_up(lr).float().numpy() / np.float32(255))
    assert np.array_equal(hr, picture.hr.numpy() / np.float32(255))
    assert stores(fed) == (torch.uint8, torch.uint8)


@pytest.mark.parametrize("degradation", ["matlab-uint8:bicubic", "opencv:area", "pillow:lanczos"])
@pytest.mark.parametrize("takes", ["LR", "interpolated"])
@pytest.mark.parametrize("channels", ["luma", "RGB"])
def test_eight_bits_stay_eight_bits(degradation: str, takes: Any, channels: Any) -> None:
    x, _, fed = whole_patch(noise(8, 8), method(takes, channels), degradation)
    assert stores(fed) == (torch.uint8, torch.uint8)
    assert np.array_equal(x, np.rint(x * 255).astype(np.float32) / np.float32(255))
    assert len(x) == (1 if channels == "luma" else 3)


def test_degradations_on_eight_bits_and_in_double_lie_side_by_side() -> None:
    picture = noise(8, 8, 1)
    descent = replace(PLAIN, degradation="matlab:bicubic | matlab-uint8:bicubic")
    double = imresize(picture.hr.double(), Fraction(1, 2), edges="mirror")
    rounded = imresize(picture.hr.double(), Fraction(1, 2), edges="mirror", rounding="each pass")
    expected = {(lr.float().numpy() / np.float32(255)).tobytes() for lr in (double, rounded)}
    batch = feed([picture], descent, method("LR", "luma")).batch(0, ALL)
    assert {x.tobytes() for x, _ in examples(batch)} == expected


def test_a_gray_picture_is_luma_or_three_equal_channels() -> None:
    picture = noise(8, 8, 1)
    _, hr, _ = whole_patch(picture, method("LR", "luma"), "matlab:bicubic")
    assert np.array_equal(hr, picture.hr.numpy() / np.float32(255))
    for channels in ("RGB", "any"):
        x, hr, _ = whole_patch(picture, method("LR", channels), "matlab:bicubic")
        assert np.array_equal(hr, np.repeat(picture.hr.numpy(), 3, 0) / np.float32(255))
        assert np.array_equal(x[0], x[1])
        assert np.array_equal(x[0], x[2])


def test_gray_and_colour_are_learned_together() -> None:
    pictures = [noise(20, 20, 1), noise(22, 18, 3, seed=1)]
    for channels in (1, 3):
        card = method("LR", "luma" if channels == 1 else "RGB")
        assert feed(pictures, card=card).batch(0, ALL).hr.shape == (64, channels, 8, 8)


# Pairs


PAIRS = replace(PLAIN, degradation="pairs", patch=4, batch=1)


def paired(hr: Picture, lr: Tensor | None) -> Picture:
    return replace(hr, lr=lr)


def test_lr_of_files_is_used_as_it_is() -> None:
    hr, lr = noise(8, 9), noise(4, 4, seed=5).hr  # a column more than LR tells
    [(x, target)] = examples(feed([paired(hr, lr)], PAIRS).batch(0, ALL))
    assert np.array_equal(x, lr.numpy() / np.float32(255))
    assert np.array_equal(target, hr.hr.numpy()[..., :8] / np.float32(255))


def test_lr_of_files_is_interpolated_on_eight_bits() -> None:
    hr, lr = noise(8, 8), noise(4, 4, seed=5).hr
    card = method("interpolated")
    [(x, _)] = examples(feed([paired(hr, lr)], replace(PAIRS, patch=8), card).batch(0, ALL))
    up = imresize(lr.double(), 2, edges="mirror", rounding="each pass")
    assert np.array_equal(x, up.float().numpy() / np.float32(255))


def test_lr_of_files_becomes_what_the_method_takes() -> None:
    colour, gray = noise(8, 8), noise(8, 8, 1)
    small, small_gray = noise(4, 4, seed=5).hr, noise(4, 4, 1, seed=6).hr
    y = np.floor(rgb2ycbcr(small.numpy().transpose(1, 2, 0))[..., 0] + 0.5)[None]
    for picture, lr, channels, expected in (
        (colour, small, "luma", y),
        (gray, small, "luma", y),
        (colour, small_gray, "luma", small_gray.numpy()),
        (gray, small_gray, "RGB", np.repeat(small_gray.numpy(), 3, 0)),
        (colour, small_gray, "RGB", np.repeat(small_gray.numpy(), 3, 0)),
    ):
        fed = feed([paired(picture, lr)], PAIRS, method("LR", channels))
        [(x, _)] = examples(fed.batch(0, ALL))
        assert np.array_equal(x, expected.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    ("lr", "says"),
    [
        (None, "noise 0: its LR is none; expected 5x4 px at x2"),
        (noise(5, 4).hr, "noise 0: its LR is 4x5 px; expected 5x4 px at x2"),
        (noise(4, 6).hr, "noise 0: its LR is 6x4 px; expected 5x4 px at x2"),
    ],
)
def test_lr_that_does_not_fit_is_refused_in_a_line(lr: Tensor | None, says: str) -> None:
    with pytest.raises(InputError) as error:
        feed([paired(noise(8, 10), lr)], PAIRS)
    assert str(error.value).startswith(says)
    assert str(error.value).endswith(
        "--lr a folder that holds LR images under the HR images' names"
    )
    assert "\n" not in str(error.value)


# What is refused


@pytest.mark.parametrize(
    ("takes", "patch", "scales", "least"),
    [
        ("LR", 4, (), 12),
        ("LR", 4, (2, 4), 16),
        ("interpolated", 12, (), 12),
        ("interpolated", 10, (), 12),  # of 11 pixels, modcrop would leave 9
        ("interpolated", 10, (2, 3, 4), 12),
    ],
)
def test_an_image_is_refused_just_where_no_patch_can_be_cut(
    takes: Any, patch: int, scales: tuple[int, ...], least: int
) -> None:
    descent = replace(PLAIN, patch=patch, scales=scales, mixing="updates")
    card = method(takes)
    enough = noise(least, 40)
    refuse_small(enough.hr, "a.png", card, descent, 3)
    fed = feed([enough], descent, card, scale=3)
    for update in range(8):
        assert fed.batch(update, ALL).x.shape == (64, 3, patch, patch)
    with pytest.raises(InputError, match=r"^a\.png: 40x") as error:
        refuse_small(noise(least - 1, 40).hr, "a.png", card, descent, 3)
    assert f"{least - 1} px are too small for a patch, which needs {least}x{least}" in str(
        error.value
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("choices", "takes", "says"),
    [
        ({"border": 4}, "LR", "border=4 leaves nothing of 8x8 px"),
        ({"border": 2}, "interpolated", "border=2 leaves nothing of 4x4 px"),
        ({"scales": (2, 3)}, "LR", "mixing=patches: toy takes LR"),
        (
            {"scales": (2, 3), "mixing": "updates", "stride": 2},
            "LR",
            "mixing=updates draws a scale",
        ),
    ],
)
def test_what_would_train_on_wrong_pixels_or_none_is_refused(
    choices: dict[str, Any], takes: Any, says: str
) -> None:
    with pytest.raises(InputError) as error:
        feed([noise(30, 30)], replace(PLAIN, **choices), method(takes))
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_a_border_may_leave_two_pixels() -> None:
    feed([noise(30, 30)], replace(PLAIN, border=3), method("LR"))
