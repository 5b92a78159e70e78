"""The Python API: measure super-resolution methods by the rules of the papers.

>>> import sisrbench
>>> table = sisrbench.measure("bicubic", "demo", scales=2, metrics="psnr", progress=False)
>>> average = table[(table["image"] == "") & (table["quantity"] == "psnr_y")]
>>> round(float(average["value"].iloc[0]), 2)
31.94

`measure`, `cost` and `reproduce` do what the commands `run`, `cost` and `reproduce` do, and give a
table: a pandas DataFrame that shows averages in a notebook. With `out=FOLDER` results are stored
there, so that the same call again computes nothing; `results(FOLDER)` reads them. Without `out`
nothing is kept. `psnr`, `ssim` and `degrade` work on arrays and files of your own.

Whatever cannot be used raises an `InputError`, whose one line says what to do.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from bench import evaluate, images
from bench import metrics as registry
from bench import protocol as protocols
from bench import session as sessions
from bench.claims import verdicts
from bench.inference import DEFAULT, Inference
from bench.progress import Progress
from bench.protocol import Protocol
from bench.published import load as _paper_table
from bench.session import Outcome, Session, Upscaler
from bench.store import as_results
from reports.notebook import Table, table_of
from zoo.errors import InputError
from zoo.method import Channels

__all__ = [
    "Inference",
    "InputError",
    "Protocol",
    "Table",
    "compare",
    "cost",
    "degrade",
    "load",
    "measure",
    "psnr",
    "reproduce",
    "results",
    "ssim",
]

Names: TypeAlias = str | Path | Iterable[str | Path]
Image: TypeAlias = NDArray[Any] | str | Path
"""(H, W) or (H, W, 3), uint8 or floats in [0, 255]; or the path of an image file."""


def measure(
    methods: Names,
    datasets: Names,
    *,
    scales: int | Iterable[int] = (2, 3, 4),
    protocol: str | Protocol = "srcnn2014",
    metrics: Names = (),
    device: str = "cpu",
    threads: int | None = None,
    repeat: int = 5,
    inference: Inference = DEFAULT,
    out: str | Path | None = None,
    progress: bool = True,
) -> Table:
    """Metrics of methods on datasets, image by image and on average, and the methods' costs.

    Args:
        methods: `NAME[:KEY=VALUE,...][@WEIGHTS]`, or paths of Python files; one or several.
        datasets: names of sets, or folders of HR images; one or several.
        scales: enlargements.
        protocol: the rules, by name or as a value.
        metrics: which ones; all that need not be named where empty.
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: processor threads; None for all.
        repeat: repetitions of each time measurement.
        inference: how networks are run.
        out: folder that keeps the results; None to keep nothing.
        progress: whether to show progress on standard error.

    Returns:
        A row for each value; the columns are method, weights, scale, dataset, image ('' for an
        average), protocol, inference, quantity, value, unit, spread, source, run, note.

    Raises:
        InputError: something that does not exist or cannot be used.

    >>> table = measure(["nearest", "bicubic"], "demo", scales=3, metrics="ssim", progress=False)
    >>> sorted(set(table["method"])), "ssim_y" in set(table["quantity"])
    (['bicubic', 'nearest'], True)
    """
    called = _called("measure", methods=methods, datasets=datasets, scales=scales, metrics=metrics)
    with _session(called, out, device, threads, repeat, inference, progress) as session:
        rules = protocols.named(protocol)
        outcome = session.measure(
            _names(methods), _names(datasets), _scales(scales), rules, _names(metrics)
        )
    return _results(outcome)


def cost(
    methods: Names,
    *,
    scales: int | Iterable[int] = (),
    protocol: str | Protocol = "srcnn2014",
    time: bool = True,
    device: str = "cpu",
    threads: int | None = None,
    repeat: int = 5,
    inference: Inference = DEFAULT,
    out: str | Path | None = None,
    progress: bool = True,
) -> Table:
    """What methods cost, without any image: multiplies, parameters, memory, time.

    Args:
        methods: `NAME[:KEY=VALUE,...][@WEIGHTS]`, or paths of Python files; one or several.
        scales: enlargements; those of 2, 3, 4 that a method has where empty.
        protocol: the rules that feed the methods, by name or as a value.
        time: whether to measure time too, which runs the method.
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: processor threads; None for all.
        repeat: repetitions of each time measurement.
        inference: how networks are run.
        out: folder that keeps the results; None to keep nothing.
        progress: whether to show progress on standard error.

    Returns:
        A row for each value, with the columns of `measure`.

    Raises:
        InputError: something that does not exist or cannot be used.

    >>> table = cost("edsr-baseline", scales=4, time=False, progress=False)
    >>> int(table.set_index("quantity")["value"]["parameters"])
    1517571
    """
    called = _called("cost", methods=methods, scales=scales, time=time)
    with _session(called, out, device, threads, repeat, inference, progress) as session:
        rules = protocols.named(protocol)
        outcome = session.cost(_names(methods), _scales(scales), rules, timed=time)
    return _results(outcome)


def reproduce(
    tables: Names,
    *,
    protocol: str | Protocol | None = None,
    trained: str | Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    repeat: int = 5,
    inference: Inference = DEFAULT,
    out: str | Path | None = None,
    progress: bool = True,
) -> Table:
    """Measure what paper tables and experiments claim: a verdict for each claim.

    Args:
        tables: names of paper tables or experiments; one or several.
        protocol: rules for every claim; None for each claim's own.
        trained: folder of weights from `sisrbench train`, measured in place of the claims' own.
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: processor threads; None for all.
        repeat: repetitions of each time measurement.
        inference: how networks are run.
        out: folder that keeps the results; None to keep nothing.
        progress: whether to show progress on standard error.

    Returns:
        A row for each claim: printed, measured, difference, tolerance, verdict, reason, and where
        the claim stands (table, label, method, dataset, image, scale, protocol, quantity).

    Raises:
        InputError: something that does not exist or cannot be used.

    >>> found = reproduce("edsr2017_table1", progress=False)
    >>> found["verdict"].value_counts().to_dict()
    {'reproduced': 5}
    """
    called = _called("reproduce", tables=tables, protocol=protocol, trained=trained)
    with _session(called, out, device, threads, repeat, inference, progress) as session:
        folder = Path(trained) if trained is not None else None
        outcome = session.reproduce(_names(tables), protocol, folder)
    return table_of(outcome.verdicts, sessions.quantities())


def results(out: str | Path = "sisrbench-out") -> Table:
    """Everything that a folder's store holds; of what was measured twice, the newest.

    Raises:
        InputError: the folder has no store.
    """
    return _results(sessions.stored(Path(out)))


def compare(measured: Table, tables: Names) -> Table:
    """Claims of paper tables beside results that were measured already; measures nothing.

    Args:
        measured: results of `measure`, `cost` or `results`.
        tables: names of paper tables; one or several.

    Returns:
        A row for each claim, with the columns of `reproduce`.

    Raises:
        InputError: no such table, or a frame without the columns of results.

    >>> costs = cost("edsr-baseline", scales=4, time=False, progress=False)
    >>> compare(costs, "edsr2017_table1")["verdict"].value_counts().to_dict()
    {'not measured': 4, 'reproduced': 1}
    """
    papers = [_paper_table(name) for name in _names(tables)]
    judged = verdicts.all_tables(
        papers, as_results(measured), lambda claim: claim.result.note or "not among the results"
    )
    return table_of(judged, sessions.quantities())


def psnr(sr: Image, hr: Image, *, scale: int, protocol: str | Protocol) -> float:
    """PSNR of an SR image in dB, under a protocol's border, luma and rounding.

    Args:
        sr: the SR image, (H, W) or (H, W, 3) in [0, 255], or a file.
        hr: the whole HR image; it is cropped to a multiple of the scale where the protocol says so.
        scale: the enlargement, from which the border follows.
        protocol: the rules, by name or as a value.

    Returns:
        Decibels; infinity where both are equal inside the border.

    Raises:
        InputError: an image that cannot be used, or sizes that do not belong together.

    >>> import numpy as np
    >>> hr = np.full((24, 24), 100, dtype=np.uint8)
    >>> round(psnr(hr + 10, hr, scale=2, protocol="srcnn2014"), 4)
    28.1308
    """
    return _scored("psnr", sr, hr, scale, protocol)


def ssim(sr: Image, hr: Image, *, scale: int, protocol: str | Protocol) -> float:
    """SSIM of an SR image, under a protocol's border, luma and rounding.

    Args:
        sr: the SR image, (H, W) or (H, W, 3) in [0, 255], or a file.
        hr: the whole HR image; it is cropped to a multiple of the scale where the protocol says so.
        scale: the enlargement, from which the border follows.
        protocol: the rules, by name or as a value.

    Returns:
        At most 1, for equal images.

    Raises:
        InputError: an image that cannot be used, or sizes that do not belong together.

    >>> import numpy as np
    >>> hr = np.arange(576, dtype=np.uint8).reshape(24, 24)
    >>> ssim(hr, hr, scale=2, protocol="srcnn2014")
    1.0
    """
    return _scored("ssim", sr, hr, scale, protocol)


def degrade(
    hr: Image, scale: int, *, protocol: str | Protocol, channels: Channels = "any"
) -> NDArray[np.uint8] | NDArray[np.float64]:
    """The LR image that a protocol makes of an HR image.

    Args:
        hr: (H, W) or (H, W, 3) uint8, or a file.
        scale: how many times smaller LR is, per side.
        protocol: the rules, by name or as a value.
        channels: planes that the method takes; some protocols make LR of luma unless it is `RGB`.

    Returns:
        (h, w) or (h, w, 3): uint8 where LR holds whole levels, as a file does; else float64 in
        [0, 255], not rounded.

    Raises:
        InputError: an image or a scale that cannot be used.

    >>> import numpy as np
    >>> hr = np.full((24, 24, 3), 100, dtype=np.uint8)
    >>> lr = degrade(hr, 3, protocol="rcan2018")
    >>> lr.shape, lr.dtype, int(lr.max())
    ((8, 8, 3), dtype('uint8'), 100)
    """
    _refuse_scale(scale)
    pixels = images.from_array(hr)
    if bool((pixels != pixels.round()).any()):
        raise InputError("an HR image with fractions; give uint8, as an image file holds")
    _, lr = evaluate.hr_and_lr(
        images.to_pixels(pixels), scale, protocols.named(protocol), channels, pixels.device
    )
    if torch.equal(lr, lr.round()):
        return images.to_pixels(lr)
    planes: NDArray[np.float64] = lr.numpy()
    return planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0)


def load(
    method: str | Path,
    scale: int = 2,
    *,
    device: str = "cpu",
    inference: Inference = DEFAULT,
    progress: bool = True,
) -> Model:
    """A method with its weights, ready to enlarge pictures.

    Args:
        method: `NAME[:KEY=VALUE,...][@WEIGHTS]`, or the path of a Python file.
        scale: the enlargement.
        device: `cpu`, `cuda`, `cuda:1`, ...
        inference: how the network is run.
        progress: whether to show a download on standard error.

    Raises:
        InputError: no such method, scale, weights or device, or weights that cannot be had.

    >>> import numpy as np
    >>> espcn = load("espcn", scale=3)
    >>> espcn(np.zeros((20, 30, 3), dtype=np.uint8)).shape
    (60, 90, 3)
    """
    _refuse_scale(scale)
    return Model(Upscaler(str(method), scale, device, inference, Progress(quiet=not progress)))


class Model:
    """A method with its weights: call it with an image."""

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler
        self.name: str = upscaler.method.name
        self.scale: int = upscaler.scale

    def __repr__(self) -> str:
        """The method and the scale."""
        return f"Model({self.name}, x{self.scale})"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """SR of an image, uint8: (H, W) or (H, W, 3), `scale` times as high and wide.

        Where the method takes luma, chroma is interpolated bicubically.

        Raises:
            InputError: an image that cannot be used or enlarged.
        """
        return images.to_pixels(self._upscaler(images.from_array(image)))


def _scored(
    metric: str, sr: Image, hr: Image, scale: int, protocol: str | Protocol
) -> float:
    _refuse_scale(scale)
    rules = protocols.named(protocol)
    used = {metric: registry.load(metric)}
    scores = evaluate.score(images.from_array(sr), images.from_array(hr), scale, rules, used)
    return scores[f"{metric}_{rules.channel}"]


def _refuse_scale(scale: int) -> None:
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 2:
        raise InputError(f"scale {scale!r}; give an integer of at least 2")


def _names(given: Names) -> list[str]:
    return [str(given)] if isinstance(given, str | Path) else [str(name) for name in given]


def _scales(given: int | Iterable[int]) -> list[int]:
    scales = [given] if isinstance(given, int) else list(given)
    for scale in scales:
        _refuse_scale(scale)
    return scales


def _called(name: str, **arguments: object) -> str:
    """The call as it is kept with a run."""
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f"sisrbench.{name}({shown})"


@contextlib.contextmanager
def _session(
    called: str,
    out: str | Path | None,
    device: str,
    threads: int | None,
    repeat: int,
    inference: Inference,
    progress: bool,
) -> Iterator[Session]:
    """A session in a folder, or in one that goes when the session ends."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if out is None else out
        session = Session(
            out=Path(folder),
            command=called,
            device_name=device,
            threads=threads,
            repetitions=repeat,
            inference=inference,
            progress=Progress(quiet=not progress),
        )
        yield stack.enter_context(session)


def _results(outcome: Outcome) -> Table:
    return table_of(outcome.table, sessions.quantities())
