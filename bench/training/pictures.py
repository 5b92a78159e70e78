"""Training images: decoding and checking the images of the training sets."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from bench import images
from bench.datasets import ImageFile, hr_names
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
    given = _GivenLr(training)
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


class _GivenLr:
    """The LR files of a training, found by the HR image's name.

    An LR file has the name of its HR image, or a name of the published sets: `0001x2` (DIV2K),
    `baby_LR`, `baby_LRBI_x2`. A file whose name says another scale is not used.
    """

    def __init__(self, training: Training) -> None:
        self._scale = training.scale
        self._same: dict[str, ImageFile] = {}
        self._similar: dict[str, list[ImageFile]] = defaultdict(list)
        for image in (image for dataset in training.lr for image in dataset.images):
            self._same[image.name] = image
            for name in {name for name, scale in hr_names(image.name) if scale in (0, self._scale)}:
                self._similar[name].append(image)

    def of(self, image: ImageFile) -> ImageFile:
        """The LR file of an HR image.

        Raises:
            InputError: the HR image has no LR file, or several.
        """
        if image.name in self._same:
            return self._same[image.name]
        found = self._similar.get(image.name.lower(), [])
        if not found:
            end = image.path.suffix
            raise InputError(
                f"{image.path} has no LR image in --lr, {image.name}{end} or "
                f"{image.name}x{self._scale}{end}; add it, or take the HR image out"
            )
        if len(found) > 1:
            files = ", ".join(sorted(file.path.name for file in found))
            raise InputError(
                f"{image.path} has several LR images in --lr: {files}; leave one of them"
            )
        return found[0]


def _picture(image: ImageFile, given: _GivenLr, training: Training) -> Picture | InputError:
    """The decoded image, or the error for an image that cannot be used.

    The error is returned, not raised, so that the caller can leave the image out.
    """
    learn = training.recipe.learn
    try:
        hr = images.to_tensor(images.decode(image.path), _CPU).to(torch.uint8)
        lr = None
        if training.lr:
            lr = images.to_tensor(images.decode(given.of(image).path), _CPU).to(torch.uint8)
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
