"""The Results of a unit."""

from __future__ import annotations

import contextlib
import copy
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import costs, images, machine, metrics
from bench.datasets import Dataset, ImageFile
from bench.evaluate import (
    evaluate,
    hr_and_lr,
    least_memory,
    pooled,
    same_channels,
    score,
    size_of_sr,
    super_resolve,
    takes_luma_of_hr,
)
from bench.files import weights
from bench.files.identity import is_own
from bench.hints.output import hint
from bench.hints.repeat import repeat
from bench.inference import switches
from bench.machine import out_of_memory
from bench.network import prepare, remarks_of, timed_as
from bench.plan import Unit
from bench.progress import Progress
from bench.protocol import Protocol
from bench.result import Result
from bench.tiles import Tiled
from zoo.errors import MORE_MEMORY, InputError, listed, one_line

_ALL_EXACT = "SR equals HR in every pixel of all images: are these SR files the HR images?"


@lru_cache(maxsize=128)
def decoded(path: Path, sha256: str) -> NDArray[np.uint8]:
    """Pixels of an image file, (H, W) or (H, W, 3), uint8; the last 128 files are kept in memory.

    Args:
        path: the file.
        sha256: hash of the file, so that a changed file is decoded again.
    """
    return images.decode(path)


def measure(
    unit: Unit, progress: Progress, settings: Callable[[], Mapping[str, object]] | None = None
) -> list[Result]:
    """Results of a unit; `progress` advances by a step for each image, or once for a cost.

    Args:
        unit: what to measure.
        progress: shows the steps.
        settings: the calling thread's settings, which a method may not change; None to trust it.

    Raises:
        InputError: an image, the weights or the method cannot be used, the method changes settings
            of its thread, or memory runs out.
    """
    try:
        with torch.no_grad(), switches(unit.inference):
            module = weights.build(unit.method, unit.weights, unit.scale, unit.device)
            for remark in remarks_of(module):
                progress.tell(f"{unit.method.name} x{unit.scale}: {remark}")
            for remark in unit.sr.remarks if unit.sr is not None else ():
                progress.tell(f"{unit.method.name} x{unit.scale}: {remark}")
            if unit.dataset is None:
                return _cost(unit, module, progress)
            return _accuracy(unit, unit.dataset, module, progress, settings)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise InputError(f"out of memory: {one_line(error, 160)}; {MORE_MEMORY}") from error


def _accuracy(
    unit: Unit,
    dataset: Dataset,
    module: nn.Module,
    progress: Progress,
    settings: Callable[[], Mapping[str, object]] | None,
) -> list[Result]:
    """Results of each metric: a value for each image, then the average over the dataset.

    Images come in the order of the numbers in their names. The note of the average says which
    images it leaves out, hints at a likely mistake in the method's output, says whether the output
    changes from run to run, and ends with the remark on the weights.

    Raises:
        InputError: an image cannot be used, or a metric gave NaN.
    """
    used = {name: metrics.load(name) for name in unit.names}
    # The hint needs PSNR, whichever metrics are asked for.
    computed = used | {"psnr": metrics.load("psnr")}
    remarks: dict[str, list[str]] = {}

    def measured(image: ImageFile, module: Tiled) -> dict[str, float]:
        pixels = decoded(image.path, image.sha256)
        # Some settings are each thread's own, so the process's watch does not see them.
        before = settings() if settings is not None else {}
        try:
            if unit.sr is not None:
                found, said = _scored(unit, unit.sr[image.name], pixels, computed)
                module.fallbacks += said
            else:
                lr, said = _lr_of(unit, image, pixels)
                found = evaluate(
                    pixels,
                    unit.scale,
                    unit.protocol,
                    unit.method,
                    module,
                    computed,
                    unit.device,
                    lr,
                )
                module.fallbacks += said
        except InputError as error:
            raise InputError(f"{image.path}, x{unit.scale}: {error}") from error
        except Exception as error:
            if not out_of_memory(error):
                raise
            height, width = pixels.shape[:2]
            raise InputError(
                f"{image.path}, x{unit.scale}: memory ran out on {width}x{height} px; {MORE_MEMORY}"
            ) from error
        after = settings() if settings is not None else {}
        changed = [name for name, value in before.items() if after.get(name) != value]
        if changed:
            raise InputError(
                f"{image.path}, x{unit.scale}: {unit.method.name} changes {listed(changed)} for "
                "all that its thread computes, so its numbers are not kept; compute without "
                "changing settings of others"
            )
        progress.advance()
        # Emptied, because the module goes on to another image, whose remarks are separate.
        remarks[image.name], module.fallbacks = module.fallbacks, []
        return found

    _run_ahead(unit, dataset, module)
    workers = _fitting(unit, dataset.images, _workers(unit, len(dataset.images)))
    factor = unit.method.factor(unit.scale)
    run = prepare(module, unit.inference, factor, unit.device, max(workers, 1))
    found = _each(measured, dataset.images, run, workers)
    values = {image.name: value for image, value in zip(dataset.images, found, strict=True)}
    psnr = {name: each[unit.protocol.psnr] for name, each in values.items()}
    differs = ""
    try:
        if unit.sr is not None:
            mistake = _ALL_EXACT if set(psnr.values()) == {math.inf} else ""
        else:
            seen = _seen(unit, dataset, psnr)
            mistake = hint(seen, unit.scale, unit.protocol, unit.method, run, unit.device)
            differs = _repeat(unit, dataset.images[0], run)
    except Exception as error:
        if not out_of_memory(error):
            raise
        # The numbers are known already, and a hint is only advice.
        mistake = "not looked for mistakes in the output: memory ran out"
    of_weights = [unit.weights.card.remark if unit.weights.card else "", *remarks_of(module)]
    for files in filter(None, (unit.sr, unit.lr)):
        of_weights += [*files.remarks, *_by_remark(remarks)]
    if unit.lr is not None and takes_luma_of_hr(unit.protocol, unit.method.channels):
        whole = ", in whole levels" if unit.protocol.round_luma else ""
        of_weights.append(f"LR is the luma of the LR files{whole}")
    ordered = sorted(values, key=_by_numbers)
    results = []
    for name, metric in used.items():
        quantity = f"{name}_{unit.protocol.channel}"
        per_image = {image: values[image][quantity] for image in ordered}
        average, note = _average(per_image, quantity, metric, unit.protocol)
        for image_name, value in [*per_image.items(), ("", average)]:
            if math.isnan(value):
                raise InputError(
                    f"{quantity} of {unit.label}, {image_name or 'average'}, is NaN; fix the metric"
                )
            results.append(
                Result(
                    method=unit.method.name,
                    weights=unit.weights.label,
                    scale=unit.scale,
                    dataset=unit.on,
                    image=image_name,
                    protocol=unit.protocol.name,
                    inference=unit.inference.label,
                    quantity=quantity,
                    value=value,
                    unit=metric.UNIT,
                    note="; ".join(
                        remarks[image_name]
                        if image_name
                        else filter(None, (note, mistake, differs, *of_weights))
                    ),
                )
            )
    return results


def _run_ahead(unit: Unit, dataset: Dataset, module: nn.Module) -> None:
    """Give all LR images to a part of a module that computes a folder of them at once.

    Such a part has `gather(name)`, a context in which it keeps images, and `run_gathered()`.

    Raises:
        InputError: an image cannot be used, or the program fails.
    """
    part: Any = next((part for part in module.modules() if hasattr(part, "run_gathered")), None)
    if part is None:
        return
    for image in dataset.images:
        pixels = decoded(image.path, image.sha256)
        try:
            given, _ = _lr_of(unit, image, pixels)
            hr, lr = hr_and_lr(
                pixels, unit.scale, unit.protocol, unit.method.channels, unit.device, given
            )
            size = size_of_sr(hr, lr, unit.scale, unit.method)
            with part.gather(image.name):
                super_resolve(lr, size, unit.method, module, unit.protocol)
        except InputError as error:
            raise InputError(f"{image.path}, x{unit.scale}: {error}") from error
    part.run_gathered()


def _lr_of(
    unit: Unit, image: ImageFile, pixels: NDArray[np.uint8]
) -> tuple[Tensor | None, list[str]]:
    """The LR file of an image, (1 or 3, h, w), and what is to be said of it.

    None if the protocol makes LR.

    Args:
        unit: says the files, the scale, the protocol and the device.
        image: the HR image.
        pixels: its pixels, (H, W) or (H, W, 3), uint8.

    Raises:
        InputError: the file is no image, or has another size or other channels than LR of HR.
    """
    if unit.lr is None:
        return None, []
    path = unit.lr[image.name].path
    # Not kept in memory: LR is small, and would take the place of HR images.
    lr = images.to_tensor(images.decode(path), unit.device)
    height, width = pixels.shape[0] // unit.scale, pixels.shape[1] // unit.scale
    if lr.shape[-2:] != (height, width):
        raise InputError(
            f"{path} has {lr.shape[-1]}x{lr.shape[-2]} px; LR of HR of {pixels.shape[1]}x"
            f"{pixels.shape[0]} px at x{unit.scale} has {width}x{height}: give the LR of this image"
        )
    try:
        lr, said = same_channels(lr, images.to_tensor(pixels, unit.device), "LR", unit.protocol)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return lr, [said] if said else []


def _seen(
    unit: Unit, dataset: Dataset, psnr: Mapping[str, float]
) -> Iterator[tuple[str, NDArray[np.uint8], Tensor | None, float]]:
    """Name, pixels, LR from a file, and PSNR of each image, for a hint."""
    for image in dataset.images:
        pixels = decoded(image.path, image.sha256)
        yield image.name, pixels, _lr_of(unit, image, pixels)[0], psnr[image.name]


def _repeat(unit: Unit, image: ImageFile, module: Tiled) -> str:
    """What is to be said if two runs of a network that is not this project's differ, else ''.

    Sums have no fixed order on a GPU, and an external program is not started again.
    """
    ours = is_own(unit.method.source) and not unit.method.card
    if ours or unit.device.type != "cpu" or timed_as(module):
        return ""
    pixels = decoded(image.path, image.sha256)
    return repeat(pixels, unit.scale, unit.protocol, unit.method, module, unit.device)


def _scored(
    unit: Unit,
    file: ImageFile,
    pixels: NDArray[np.uint8],
    used: Mapping[str, metrics.Metric],
) -> tuple[dict[str, float], list[str]]:
    """The metrics of an SR file, by name of the quantity, and what is to be said of the file.

    Args:
        unit: says the scale, the protocol and the device.
        file: the SR file.
        pixels: the HR image, (H, W) or (H, W, 3), uint8.
        used: the metrics, by name.

    Raises:
        InputError: the file is no image, or has another size or other channels than HR.
    """
    hr = images.to_tensor(pixels, unit.device)
    sr = images.to_tensor(decoded(file.path, file.sha256), unit.device)
    try:
        sr, said = same_channels(sr, hr, "SR", unit.protocol)
        found = score(sr, hr, unit.scale, unit.protocol, used)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from error
    return found, [said] if said else []


def _by_remark(remarks: Mapping[str, Sequence[str]]) -> list[str]:
    """Each remark on images once, with the names of its images."""
    names: dict[str, list[str]] = {}
    for image in sorted(remarks, key=_by_numbers):
        for remark in remarks[image]:
            names.setdefault(remark, []).append(image)
    return [f"{listed(found)}: {remark}" for remark, found in names.items()]


def _by_numbers(name: str) -> list[tuple[int, int, str]]:
    """A sort key by which `img_2` comes before `img_10`.

    >>> sorted(["img_10", "img_2", "baby"], key=_by_numbers)
    ['baby', 'img_2', 'img_10']
    """
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(0, int(digits), "") if digits else (1, 0, text) for digits, text in parts]


def _average(
    per_image: Mapping[str, float], quantity: str, metric: metrics.Metric, protocol: Protocol
) -> tuple[float, str]:
    """The average over a dataset, and a note with the number of images.

    An exact image has an infinite PSNR. Its value is left out, and the note names the image. If all
    values are infinite, so is the average.

    Args:
        per_image: values by name of the image.
        quantity: name of the quantity.
        metric: the metric of the quantity.
        protocol: says how PSNR is pooled.
    """
    average = pooled(list(per_image.values()), quantity, protocol)
    finite = [value for value in per_image.values() if value != math.inf]
    # Where lower is better, an infinite value is no exact image, and the average shows it.
    if average != math.inf or not (finite and metric.HIGHER_IS_BETTER):
        return average, f"average of {len(per_image)} images"
    left_out = [name for name, value in per_image.items() if value == math.inf]
    count = f"average of {len(finite)} of {len(per_image)} images"
    return pooled(
        finite, quantity, protocol
    ), f"{count}; left out, infinite value: {listed(left_out)}"


def _each(
    measured: Callable[[ImageFile, Tiled], dict[str, float]],
    images: Sequence[ImageFile],
    module: Tiled,
    workers: int,
) -> list[dict[str, float]]:
    """The result of `measured` for every image, in order.

    On a processor, a thread computes whole images alone. A convolution that several threads share
    sums in another order: single pixels of SR are then rounded to another level, and PSNR changes
    by up to 2e-4 dB. With whole images, the number of threads changes only the time.

    Args:
        measured: function (image, module) -> name of the quantity to value.
        images: the dataset's images.
        module: each thread has a copy, because a module may keep state. If the module cannot be
            copied, there is a single thread.
        workers: number of threads; 0 for no extra thread.
    """
    if not workers:
        return [measured(image, module) for image in images]
    own, modules = threading.local(), [module]
    # A module may hold anything, for example a lock.
    with contextlib.suppress(Exception, SystemExit):
        modules += [copy.deepcopy(module) for _ in range(workers - 1)]

    def alone(image: ImageFile) -> dict[str, float]:
        # Not the pool's initializer, whose exceptions Python would print with a traceback.
        if not hasattr(own, "module"):
            # PyTorch keeps this number for each thread, as it keeps no_grad.
            torch.set_num_threads(1)
            own.module = unused.pop()
        with torch.no_grad():
            return measured(image, own.module)

    unused = list(modules)  # list.pop is atomic
    with ThreadPoolExecutor(len(modules)) as pool:
        return list(pool.map(alone, images))


def _workers(unit: Unit, images: int) -> int:
    """How many threads compute images at the same time; 0 to compute the images in turn."""
    if unit.device.type != "cpu" or unit.inference.compiled:
        return 0
    return min(torch.get_num_threads(), images)


def _fitting(unit: Unit, images_of: Sequence[ImageFile], workers: int) -> int:
    """`workers`, or fewer where images of the largest size do not fit into memory together.

    Raises:
        InputError: an image does not fit alone; no pixel has been decoded.
    """
    needs = {
        image.path: least_memory(images.shape_of(image.path), unit.protocol, unit.method.channels)
        for image in images_of
    }
    path = max(needs, key=lambda each: needs[each])
    free = machine.free_memory(unit.device)
    if needs[path] > free:
        _, height, width = images.shape_of(path)
        raise InputError(
            f"{path}, {width}x{height} px, needs at least {needs[path] / 2**30:.1f} GiB under "
            f"{unit.protocol.name}, and {free / 2**30:.1f} GiB are free; {MORE_MEMORY}"
        )
    return min(workers, free // max(needs[path], 1))


def _cost(unit: Unit, module: nn.Module, progress: Progress) -> list[Result]:
    """Results of a cost: a Result for each quantity that the cost's file lists.

    If the cost cannot be measured, each Result has no value, and the note gives the reason.
    """
    name = unit.names[0]
    cost = costs.load(name)
    method, path = unit.method, unit.weights.path
    subject = costs.Subject(
        method=unit.method,
        module=module,
        scale=unit.scale,
        protocol=unit.protocol,
        device=unit.device,
        timing=unit.timing,
        inference=unit.inference,
        files=(path, *method.read_from(unit.scale)) if method.opener is not None and path else (),
    )
    try:
        found = cost.measure(subject)
        why_not = ""
    except InputError as error:
        found, why_not = {}, f"not measured: {error}"
    progress.advance()
    results = []
    for quantity, symbol in cost.UNITS.items():
        value = found.get(quantity)
        if value is None and not why_not:
            continue  # a cost may leave out a quantity that the device does not have
        results.append(
            Result(
                method=unit.method.name,
                scale=unit.scale,
                protocol=unit.protocol.name if cost.TIMED else "",
                inference=unit.inference.label,
                quantity=quantity,
                value=value.value if value else None,
                unit=symbol,
                spread=value.spread if value else None,
                note=value.note if value else why_not,
            )
        )
    return results
