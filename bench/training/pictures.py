"""Training images: decoding and checking the images of the training sets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from bench import images
from bench.datasets import ImageFile
from bench.progress import TrainingProgress
from bench.training.feed import Picture, refuse_small
from bench.training.recipes import Training
from zoo.errors import InputError
from zoo.recipe import Descent

_CPU = torch.device("cpu")
_MANY = 200
"""Number of images above which the progress of decoding is shown."""


def pictures_of(training: Training, progress: TrainingProgress) -> list[Picture]:
    """All training images, decoded, in order.

    A mixture of grayscale and colour files is reported, because they are treated differently: a
    grayscale file counts as luma, or as three equal channels for an RGB method.

    Raises:
        InputError: an image cannot be read or is too small, and `skip_bad` is off; or no image is
            left.
    """
    given = {image.name: image for dataset in training.lr for image in dataset.images}
    files = [image for dataset in training.data for image in dataset.images]
    found, left_out = [], []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        readings = pool.map(lambda image: _picture(image, given, training), files)
        for done, picture in enumerate(readings, start=1):
            if len(files) > _MANY:
                progress.show("decoding", done, len(files), "")
            if isinstance(picture, Picture):
                found.append(picture)
                continue
            if not training.skip_bad:
                raise InputError(f"{picture}; --skip-bad leaves such images out")
            left_out.append(picture)
            progress.say(f"left out: {picture}")
    if left_out:
        progress.say(f"{len(left_out)} of {len(files)} images are left out")
    if not found:
        names = ", ".join(dataset.name for dataset in training.data)
        raise InputError(f"{names}: no image is left to learn from; give --data other images")
    gray = sum(picture.hr.shape[0] == 1 for picture in found)
    if 0 < gray < len(found):
        progress.say(f"{gray} of {len(found)} images are grayscale, the others are in colour")
    return found


def _picture(
    image: ImageFile, given: Mapping[str, ImageFile], training: Training
) -> Picture | InputError:
    """The decoded image, or the error for an image that cannot be used.

    The error is returned, not raised, so that the caller can leave the image out.
    """
    learn = training.recipe.learn
    try:
        hr = images.to_tensor(images.decode(image.path), _CPU).to(torch.uint8)
        lr = None
        if training.lr:
            if image.name not in given:
                raise InputError(f"{image.path} has no LR image of its name in --lr")
            lr = images.to_tensor(images.decode(given[image.name].path), _CPU).to(torch.uint8)
        if isinstance(learn, Descent):
            refuse_small(hr, str(image.path), training.method, learn, training.scale)
        elif min(hr.shape[-2:]) < training.scale:
            raise InputError(
                f"{image.path}: {hr.shape[-1]}x{hr.shape[-2]} px leave nothing at "
                f"x{training.scale}; take it out, or give a larger image"
            )
    except InputError as error:
        return error
    return Picture(name=str(image.path), hr=hr, lr=lr)


def luma_of(pictures: Iterable[Picture]) -> list[Tensor]:
    """HR luma of every picture, in order: (H, W), float64 in [0, 1], whole levels of 1/255.

    RGB is converted by BT.601 and rounded; a grayscale file counts as luma.
    """
    return [images.as_luma(picture.hr.to(torch.float64))[0] / 255 for picture in pictures]
