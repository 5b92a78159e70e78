"""The Python API: measure super-resolution methods by the rules of the papers.

>>> import sisrbench
>>> table = sisrbench.measure("bicubic", "demo", scales=2, metrics="psnr", progress=False)
>>> average = table[(table["image"] == "") & (table["quantity"] == "psnr_y")]
>>> round(float(average["value"].iloc[0]), 2)
31.94

`measure`, `cost` and `reproduce` work like the commands `run`, `cost` and `reproduce`, and return a
table: a pandas DataFrame that shows averages in a notebook. With `out=FOLDER`, results are stored
in the folder: the same call again computes nothing, and `results(FOLDER)` reads the results.
Without `out`, nothing is kept. `psnr`, `ssim` and `degrade` work on your own arrays and files.

Input that cannot be used raises an `InputError`, whose message is a single line with the fix.
"""

from __future__ import annotations

import contextlib
import inspect
import operator
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias, get_args

import numpy as np
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
from bench.session import OWN_PICTURES, Outcome, Session, Upscaler
from bench.sources.card import Card, of_fields
from bench.store import as_results
from bench.timing.clock import Timing
from reports.notebook import Table, table_of
from zoo.errors import InputError
from zoo.method import Channels

__all__ = [
    "Card",
    "Inference",
    "InputError",
    "Protocol",
    "card",
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
"""A name or path, or several."""
Methods: TypeAlias = str | Path | Card | Iterable[str | Path | Card]
"""A method or several, as `NAME[:KEY=VALUE,...][@WEIGHTS]`, as the path of a file, or as a card."""
Image: TypeAlias = NDArray[Any] | str | Path
"""An array (H, W) or (H, W, 3), uint8 or floats in [0, 255]; or the path of an image file."""


def measure(
    methods: Methods,
    datasets: Names,
    *,
    scales: SupportsIndex | Iterable[SupportsIndex] = (2, 3, 4),
    protocol: str | Protocol = "srcnn2014",
    lr: str | Path = "",
    metrics: Names = (),
    time: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    repeat: int = 5,
    budget: float = 30.0,
    again: bool = False,
    inference: Inference = DEFAULT,
    trust_code: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
) -> Table:
    """Metrics of methods on datasets, for each image and on average, and the costs of the methods.

    Args:
        methods: a method or several: `NAME[:KEY=VALUE,...][@WEIGHTS]`, a file, or a `card`.
        datasets: a dataset or several, by name or as a folder of HR images.
        scales: an enlargement or several.
        protocol: the rules, by name or as a value.
        lr: LR files to take instead of the protocol's LR: a folder, in which `{scale}` stands for
            the scale, or an LR set of the datasets, as `benchmark`. The dataset is then called
            `NAME lr=LABEL`.
        metrics: names of metrics; empty for all metrics except alex and detail.
        time: whether to measure time too.
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: processor threads; None for all.
        repeat: timed runs of each method, or more if the runs are short.
        budget: seconds for the timed runs of each method at a scale; a slow method gets fewer runs,
            then a smaller output, whose time is scaled.
        again: whether times that are stored in `out` are measured again.
        inference: how networks are run.
        trust_code: whether a card's code from a public repository may run.
        out: folder that keeps the results; None to keep nothing.
        progress: whether to show progress on standard error.

    Returns:
        A row for each value; the columns are method, weights, scale, dataset, image ('' for an
        average), protocol, inference, quantity, value, unit, spread, source, run, note.

    Raises:
        InputError: an argument names an unknown method, dataset, ..., or cannot be used.

    >>> table = measure(["nearest", "bicubic"], "demo", scales=3, metrics="ssim", progress=False)
    >>> sorted(set(table["method"])), "ssim_y" in set(table["quantity"])
    (['bicubic', 'nearest'], True)
    """
    called = _called(measure, locals())
    with _session(
        called, out, device, threads, repeat, budget, again, inference, progress, trust_code
    ) as session:
        rules = protocols.named(protocol)
        outcome = session.measure(
            _methods(methods),
            _names(datasets, "dataset"),
            _scales(scales),
            rules,
            _names(metrics),
            timed=time,
            # The name of a folder without its place may be that of an LR set.
            lr=str(lr.absolute()) if isinstance(lr, Path) else lr,
        )
    return _results(outcome)


def cost(
    methods: Methods,
    *,
    scales: SupportsIndex | Iterable[SupportsIndex] = (),
    protocol: str | Protocol = "srcnn2014",
    time: bool = True,
    device: str = "cpu",
    threads: int | None = None,
    repeat: int = 5,
    budget: float = 30.0,
    again: bool = False,
    inference: Inference = DEFAULT,
    trust_code: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
) -> Table:
    """Costs of methods, without images: multiplies, parameters, memory, time.

    Args:
        methods: a method or several: `NAME[:KEY=VALUE,...][@WEIGHTS]`, a file, or a `card`.
        scales: an enlargement or several; empty for the scales among 2, 3, 4 that a method has.
        protocol: the rules that make the methods' input, by name or as a value.
        time: whether to measure time too; only time needs a run of the method.
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: processor threads; None for all.
        repeat: timed runs of each method, or more if the runs are short.
        budget: seconds for the timed runs of each method at a scale; a slow method gets fewer runs,
            then a smaller output, whose time is scaled.
        again: whether times that are stored in `out` are measured again.
        inference: how networks are run.
        trust_code: whether a card's code from a public repository may run.
        out: folder that keeps the results; None to keep nothing.
        progress: whether to show progress on standard error.

    Returns:
        A row for each value, with the columns of `measure`.

    Raises:
        InputError: an argument names an unknown method, scale, ..., or cannot be used.

    >>> table = cost("edsr-baseline", scales=4, time=False, progress=False)
    >>> int(table.set_index("quantity")["value"]["parameters"])
    1517571
    """
    called = _called(cost, locals())
    with _session(
        called, out, device, threads, repeat, budget, again, inference, progress, trust_code
    ) as session:
        rules = protocols.named(protocol)
        outcome = session.cost(_methods(methods), _scales(scales), rules, timed=time)
    return _results(outcome)


def reproduce(
    tables: Names,
    *,
    protocol: str | Protocol | None = None,
    trained: str | Path | None = None,
    time: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    repeat: int = 5,
    budget: float = 30.0,
    again: bool = False,
    inference: Inference = DEFAULT,
    out: str | Path | None = None,
    progress: bool = True,
) -> Table:
    """Verdicts on the claims of paper tables and experiments, all claims measured first.

    Args:
        tables: a paper table or experiment, or several, by name.
        protocol: rules for every claim; None for each claim's own.
        trained: folder of weights from `sisrbench train`, measured instead of the claims' weights.
        time: whether to measure the time of every method, not only where a claim needs it.
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: processor threads; None for all.
        repeat: timed runs of each method, or more if the runs are short.
        budget: seconds for the timed runs of each method at a scale; a slow method gets fewer runs,
            then a smaller output, whose time is scaled.
        again: whether times that are stored in `out` are measured again.
        inference: how networks are run.
        out: folder that keeps the results; None to keep nothing.
        progress: whether to show progress on standard error.

    Returns:
        A row for each claim: printed, measured, difference, tolerance, verdict, reason, and the
        place of the claim (table, label, method, dataset, image, scale, protocol, quantity).

    Raises:
        InputError: an argument names an unknown table, protocol, ..., or cannot be used.

    >>> found = reproduce("edsr2017_table1", progress=False)
    >>> found["verdict"].value_counts().to_dict()
    {'reproduced': 5}
    """
    called = _called(reproduce, locals())
    with _session(
        called, out, device, threads, repeat, budget, again, inference, progress
    ) as session:
        folder = Path(trained) if trained is not None else None
        outcome = session.reproduce(_names(tables, "table"), protocol, folder, timed=time)
    return table_of(outcome.verdicts, sessions.quantities())


def results(out: str | Path = "sisrbench-out") -> Table:
    """All results in a folder; for a value that was measured twice, the newest.

    Returns:
        A row for each value, with the columns of `measure`.

    Raises:
        InputError: the folder has no results.
    """
    return _results(sessions.stored(Path(out)))


def compare(measured: Table, tables: Names) -> Table:
    """Verdicts on the claims of paper tables, from results measured before; measures nothing.

    Args:
        measured: the table from `measure`, `cost` or `results`.
        tables: a paper table or several, by name.

    Returns:
        A row for each claim, with the columns of `reproduce`.

    Raises:
        InputError: a paper table does not exist, or `measured` lacks a column of results.

    >>> costs = cost("edsr-baseline", scales=4, time=False, progress=False)
    >>> compare(costs, "edsr2017_table1")["verdict"].value_counts().to_dict()
    {'not measured': 4, 'reproduced': 1}
    """
    papers = [_paper_table(name) for name in _names(tables, "table")]
    judged = verdicts.all_tables(papers, as_results(measured), lambda _: "no result for this claim")
    return table_of(judged, sessions.quantities())


def psnr(sr: Image, hr: Image, *, scale: SupportsIndex, protocol: str | Protocol) -> float:
    """PSNR of an SR image in dB, under a protocol's border, luma and rounding.

    Args:
        sr: the SR image, (H, W) or (H, W, 3) in [0, 255], or an image file.
        hr: the whole HR image, likewise; the protocol says whether to crop to a multiple of scale.
        scale: the enlargement, per side, which sets the border.
        protocol: the rules, by name or as a value.

    Returns:
        PSNR in dB; infinity if both images are equal inside the border.

    Raises:
        InputError: an image cannot be used, or the sizes of SR and HR do not agree.

    >>> import numpy as np
    >>> hr = np.full((24, 24), 100, dtype=np.uint8)
    >>> round(psnr(hr + 10, hr, scale=2, protocol="srcnn2014"), 4)
    28.1308
    """
    return _scored("psnr", sr, hr, scale, protocol)


def ssim(sr: Image, hr: Image, *, scale: SupportsIndex, protocol: str | Protocol) -> float:
    """SSIM of an SR image, under a protocol's border, luma and rounding.

    Args:
        sr: the SR image, (H, W) or (H, W, 3) in [0, 255], or an image file.
        hr: the whole HR image, likewise; the protocol says whether to crop to a multiple of scale.
        scale: the enlargement, per side, which sets the border.
        protocol: the rules, by name or as a value.

    Returns:
        SSIM, without unit; at most 1, for equal images.

    Raises:
        InputError: an image cannot be used, or the sizes of SR and HR do not agree.

    >>> import numpy as np
    >>> hr = np.arange(576, dtype=np.uint8).reshape(24, 24)
    >>> ssim(hr, hr, scale=2, protocol="srcnn2014")
    1.0
    """
    return _scored("ssim", sr, hr, scale, protocol)


def degrade(
    hr: Image, scale: SupportsIndex, *, protocol: str | Protocol, channels: Channels = "any"
) -> NDArray[np.uint8] | NDArray[np.float64]:
    """The LR image that a protocol makes of an HR image.

    Args:
        hr: (H, W) or (H, W, 3), uint8 or whole levels in [0, 255], or an image file.
        scale: how many times smaller LR is, per side.
        protocol: the rules, by name or as a value.
        channels: planes that the method takes: `luma`, `RGB` or `any`. Some protocols make LR from
            luma unless `channels` is `RGB`.

    Returns:
        (h, w) or (h, w, 3): uint8 if all values are whole levels, else float64 in [0, 255], not
        rounded.

    Raises:
        InputError: the image or the scale cannot be used.

    >>> import numpy as np
    >>> hr = np.full((24, 24, 3), 100, dtype=np.uint8)
    >>> lr = degrade(hr, 3, protocol="rcan2018")
    >>> lr.shape, lr.dtype, int(lr.max())
    ((8, 8, 3), dtype('uint8'), 100)
    """
    scale = _scale(scale)
    if channels not in get_args(Channels):
        raise InputError(f"channels {channels!r}; choose from: {', '.join(get_args(Channels))}")
    rules = protocols.named(protocol)
    pixels = images.from_array(hr)
    if bool((pixels != pixels.round()).any()):
        raise InputError("an HR image with fractions; give whole levels, as in an image file")
    _, lr = evaluate.hr_and_lr(images.to_pixels(pixels), scale, rules, channels, pixels.device)
    of_luma = rules.degrade == "luma" and channels != "RGB"
    if not of_luma and rules.round_lr:
        return images.to_pixels(lr)
    planes: NDArray[np.float64] = lr.permute(1, 2, 0).squeeze(-1).numpy()
    return planes


def card(
    *,
    name: str,
    class_: str = "",
    checkpoint: str | Path = "",
    onnx: str | Path = "",
    openvino: str | Path = "",
    exported: str | Path = "",
    script: str | Path = "",
    images: str | Path = "",
    command: str = "",
    weights: str | Path = "",
    arguments: Mapping[str, Any] | None = None,
    takes: str = "",
    channels: str = "",
    range: int = 0,  # noqa: A002  (the field of a card)
    luma: str = "",
    layout: str = "",
    multiple: int = 1,
    scales: Iterable[int] = (),
    timeout: float = 600.0,
    code: str = "",
    files: Mapping[str, str] | None = None,
    licence: str = "",
    citation: str = "",
) -> Card:
    """A method that is not this project's code, for `measure`, `cost` and `load`.

    One source says where the method is: `class_`, `checkpoint`, `onnx`, `openvino`, `exported`,
    `script`, `images` or `command`. In paths and arguments `{scale}` stands for the scale. What is
    left empty is read from the source. A TOML file with the same fields (`class` for `class_`) can
    be given to the command.

    Args:
        name: the method's name in tables.
        class_: `FILE.py:CLASS` or `PACKAGE.MODULE:CLASS`; a class or function that makes a network.
        checkpoint: weights of an architecture that spandrel detects.
        onnx: a file for ONNX Runtime.
        openvino: an .xml, .tflite, .pb or .onnx file for OpenVINO.
        exported: a file of torch.export.
        script: a file of TorchScript.
        images: folder of SR files.
        command: an external program, with `{lr}`, `{sr}` and `{scale}`.
        weights: weights of a class.
        arguments: arguments of a class; "{scale}" becomes the scale as an integer.
        takes: `LR`, or `interpolated` for LR that the protocol has interpolated.
        channels: `luma`, `RGB` or `any`.
        range: white in input and output: 1 or 255.
        luma: `studio` as in MATLAB, or `full` as in OpenCV.
        layout: `NCHW` or `NHWC`, where a file does not tell.
        multiple: LR is padded to a multiple of so many pixels, and SR is cropped.
        scales: scales of the method.
        timeout: seconds that a command may take for an image or a folder.
        code: `github:OWNER/REPO@COMMIT`, from which a class is fetched.
        files: SHA-256 by path of the files of `code` that the class needs.
        licence: licence of the method.
        citation: source of the method.

    Raises:
        InputError: not exactly one source, or a value that a field cannot have.

    >>> card(name="Ours", onnx="net_x{scale}.onnx", range=255)
    card(name='Ours', onnx='net_x{scale}.onnx', range=255)
    """
    texts: dict[str, object] = {
        "class": class_, "checkpoint": checkpoint, "onnx": onnx, "openvino": openvino,
        "exported": exported, "script": script, "images": images, "command": command,
        "weights": weights,
    }  # fmt: skip
    given = {key: str(value) if isinstance(value, Path) else value
             for key, value in texts.items() if value != ""}  # fmt: skip
    given |= {
        "name": name,
        "arguments": dict(arguments or {}),
        "takes": takes,
        "channels": channels,
        "range": range,
        "luma": luma,
        "layout": layout,
        "multiple": multiple,
        "scales": tuple(scales),
        "timeout": timeout,
        "code": code,
        "files": dict(files or {}),
        "licence": licence,
        "citation": citation,
    }
    return of_fields(given, Path(), "card()")


def load(
    method: str | Path | Card,
    scale: SupportsIndex = 2,
    *,
    protocol: str | Protocol = OWN_PICTURES,
    device: str = "cpu",
    inference: Inference = DEFAULT,
    trust_code: bool = False,
    progress: bool = True,
) -> Model:
    """A method with weights, ready to enlarge pictures.

    Args:
        method: `NAME[:KEY=VALUE,...][@WEIGHTS]`, a file, or a `card`.
        scale: the enlargement, per side.
        device: `cpu`, `cuda`, `cuda:1`, ...
        inference: how the network is run.
        trust_code: whether a card's code from a public repository may run.
        progress: whether to show a download on standard error.

    Raises:
        InputError: the method, scale, weights or device do not exist, or the weights cannot be
            downloaded.

    >>> import numpy as np
    >>> espcn = load("espcn", scale=3)
    >>> espcn(np.zeros((20, 30, 3), dtype=np.uint8)).shape
    (60, 90, 3)
    """
    shown = Progress(quiet=not progress)
    rules = protocols.named(protocol)
    (spec,) = _methods(method)
    return Model(
        Upscaler(spec, _scale(scale), rules, device, inference, shown, trust_code=trust_code)
    )


class Model:
    """A method with weights: call the model with an image."""

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler
        self.name: str = upscaler.method.name
        self.scale: int = upscaler.scale

    def __repr__(self) -> str:
        """The method and the scale."""
        return f"Model({self.name}, x{self.scale})"

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """SR of an image (h, w) or (h, w, 3): uint8, (H, W) or (H, W, 3), each side times `scale`.

        If the method takes luma, chroma is interpolated bicubically.

        Raises:
            InputError: the image cannot be used or enlarged.
        """
        return images.to_pixels(self._upscaler(images.from_array(image, bounded=False)))


def _scored(
    metric: str, sr: Image, hr: Image, scale: SupportsIndex, protocol: str | Protocol
) -> float:
    """The value of a metric for an SR image and an HR image."""
    scale = _scale(scale)
    rules = protocols.named(protocol)
    used = {metric: registry.load(metric)}
    scores = evaluate.score(images.from_array(sr), images.from_array(hr), scale, rules, used)
    return scores[f"{metric}_{rules.channel}"]


def _scale(given: SupportsIndex) -> int:
    """An enlargement as an integer, whatever integer type it has."""
    try:
        scale = operator.index(given)
    except TypeError:
        scale = 0
    if scale < 2 or isinstance(given, bool):
        raise InputError(f"scale {given!r}; give an integer of at least 2")
    return scale


def _names(given: Names, kind: str = "") -> list[str]:
    """Names as texts; `kind` says what there has to be at least one of."""
    try:
        names = [str(given)] if isinstance(given, str | Path) else [str(name) for name in given]
    except TypeError:
        raise InputError(f"{given!r} names nothing; give a name, or several") from None
    if kind and not names:
        raise InputError(f"no {kind} is named; give one or more")
    return names


def _methods(given: Methods) -> list[str | Card]:
    """Methods as specs.

    Raises:
        InputError: there is none.
    """
    if isinstance(given, Card):
        return [given]
    several = [given] if isinstance(given, str | Path) else given
    try:
        specs = [each if isinstance(each, Card) else str(each) for each in several]
    except TypeError:
        if not callable(given):
            raise InputError(f"{given!r} names no method; give a name, a file or a card") from None
        kind = given.__name__ if isinstance(given, type) else type(given).__name__
        raise InputError(
            f"a {kind} in memory cannot be measured; give its class and weights as files: "
            f'card(name="{kind}", class_="FILE.py:{kind}", weights="FILE.pth")'
        ) from None
    if not specs:
        raise InputError("no method is named; give one or more")
    return specs


def _scales(given: SupportsIndex | Iterable[SupportsIndex]) -> list[int]:
    scales = given if isinstance(given, Iterable) else [given]
    return [_scale(scale) for scale in scales]


def _called(function: Callable[..., Table], arguments: Mapping[str, object]) -> str:
    """The call as it is kept with a run: what was given, defaults left out."""
    usual = inspect.signature(function).parameters
    given = (
        f"{key}={value!r}" for key, value in arguments.items() if value is not usual[key].default
    )
    return f"sisrbench.{function.__name__}({', '.join(given)})"


@contextlib.contextmanager
def _session(
    called: str,
    out: str | Path | None,
    device: str,
    threads: int | None,
    repeat: int,
    budget: float,
    again: bool,
    inference: Inference,
    progress: bool,
    trust_code: bool = False,
) -> Iterator[Session]:
    """A context with a session in the folder `out`; None: a temporary folder, deleted after."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if out is None else out
        session = Session(
            out=Path(folder),
            command=called,
            device_name=device,
            threads=threads,
            timing=Timing(repetitions=repeat, budget=budget),
            again=again,
            inference=inference,
            trust_code=trust_code,
            progress=Progress(quiet=not progress),
        )
        yield stack.enter_context(session)


def _results(outcome: Outcome) -> Table:
    """The results of a session, as a table for notebooks.

    Raises:
        InputError: something that was asked for could not be measured.
    """
    if outcome.failures:
        failed = "; ".join(f"{subject}: {reason}" for subject, reason in outcome.failures)
        raise InputError(f"not measured: {failed}")
    return table_of(outcome.table, sessions.quantities())
