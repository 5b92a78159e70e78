"""LR images from files instead of the protocol's: a folder, or an LR set of a dataset's manifest.

The roles `LR_x2_benchmark`, `LR_x3_benchmark`, ... of a manifest are the LR set `benchmark`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from bench import datasets
from bench.datasets import SUFFIXES, Dataset, ImageFile, hr_names
from bench.datasets.matching import Paired, paired
from bench.files import fetch
from bench.files.fetch import RemoteFile
from bench.progress import Progress
from zoo.errors import InputError, listed, spelled
from zoo.method import SCALE, at_scale

_ROLE = re.compile(r"LR_x(?P<scale>[1-9][0-9]*)_(?P<label>.+)")
_OF_SCALE = re.compile(r"[_. -]?[xX](?:\{scale\}|[0-9]+)$|[_. -]?\{scale\}")
"""The part of a folder's name that says the scale: `x4`, `_X{scale}`."""


def sets_of(name: str) -> dict[str, dict[int, dict[str, RemoteFile]]]:
    """The LR sets of a dataset's manifest: label, then scale, then name of image, to file.

    A folder of images has none.
    """
    found: dict[str, dict[int, dict[str, RemoteFile]]] = {}
    for role, image, file in datasets.manifest(name).files if name in datasets.names() else ():
        if form := _ROLE.fullmatch(role):
            found.setdefault(form["label"], {}).setdefault(int(form["scale"]), {})[image] = file
    return found


def _labels() -> list[str]:
    """Labels of the LR sets of all manifests, sorted."""
    return sorted({label for name in datasets.names() for label in sets_of(name)})


def _as_label(given: str) -> str:
    """`benchmark` for `LR_x{scale}_benchmark`; any other text unchanged."""
    return given.removeprefix(f"LR_x{SCALE}_")


def require(given: str) -> None:
    """Check that a text is an LR set or a folder, before anything is downloaded.

    Raises:
        InputError: it is neither.
    """
    if _as_label(given) in _labels() or SCALE in given:
        return  # whether there is a folder for a scale is known when the scale is
    if not given or not Path(given).is_dir():
        raise InputError(
            f"no folder and no LR set {given!r}; give a folder of LR files, or one of: "
            f"{', '.join(_labels())}"
        )


def load(given: str, dataset: Dataset, scale: int, progress: Progress) -> Paired:
    """The LR file of each image of a dataset; missing files of an LR set are downloaded.

    Args:
        given: an LR set as `benchmark` or `LR_x{scale}_benchmark`; else a folder, in which
            `{scale}` stands for the scale. Files may stand in the folder, or in one of its folders
            `X4`, `x4`, `LR_bicubic/X4`, `DIV2K_valid_LR_bicubic/X4`.
        dataset: the HR images, which may lie in the same folder.
        scale: how many times smaller LR is, per side.
        progress: shows a download.

    Raises:
        InputError: the dataset has no such LR set, there is no such folder, or an image has no file
            or more than one.
        FetchError: a file of the LR set cannot be downloaded.
    """
    if _as_label(given) in _labels():
        return _of_manifest(_as_label(given), dataset, scale, progress)
    folder, inner = _folder(given, scale)
    names = [image.name for image in dataset.images]
    if inner:
        _refuse_doubled(Path(given), inner, names, scale)
    hr = [image.path for image in dataset.images]
    found = paired(folder, names, scale, "LR", dataset.name, hr)
    return replace(found, label=_label(given))


def _of_manifest(label: str, dataset: Dataset, scale: int, progress: Progress) -> Paired:
    """The files of an LR set at a scale.

    Raises:
        InputError: the dataset does not have the LR set, at this scale, for every image.
        FetchError: a file cannot be downloaded.
    """
    known = sets_of(dataset.name)
    if label not in known:
        has = f"; it has {listed(sorted(known))}" if known else ""
        raise InputError(
            f"{dataset.name} has no LR set {label!r}{has}; give another, or a folder of LR files"
        )
    files = known[label].get(scale)
    if files is None:
        scales = ", ".join(f"x{each}" for each in sorted(known[label]))
        raise InputError(
            f"{dataset.name} has the LR set {label!r} at {scales}, and not at x{scale}; leave out "
            f"-s {scale}, or give a folder of LR files"
        )
    missing = [image.name for image in dataset.images if image.name not in files]
    if missing:
        raise InputError(
            f"the LR set {label!r} of {dataset.name} has no file of x{scale} for "
            f"{listed(missing)}; give a folder of LR files"
        )
    fetch.fetch_missing(dataset.name, files.values(), progress)
    return Paired(
        "LR",
        tuple(
            ImageFile(image.name, fetch.local_path(files[image.name]), files[image.name].sha256)
            for image in dataset.images
        ),
        label=label,
    )


def _folder(given: str, scale: int) -> tuple[Path, str]:
    """The folder that holds the files of a scale, and its path below the given one ('' if that).

    Raises:
        InputError: several folders may be meant, or the given one cannot be read.
    """
    if SCALE in given:
        return Path(at_scale(given, scale)), ""
    root = Path(given)
    try:
        within = [path for path in sorted(root.iterdir()) if path.is_dir()]
        of_kind = [path for path in within if path.name.lower().endswith("lr_bicubic")]
        within += [path for kind in of_kind for path in sorted(kind.iterdir()) if path.is_dir()]
    except OSError as error:
        raise InputError(f"cannot read {given}: {error.strerror}; give a folder") from error
    of_scale = [path for path in within if path.name.lower() == f"x{scale}"]
    if len(of_scale) > 1:
        places = listed([f"{path.relative_to(root)}/" for path in of_scale])
        raise InputError(f"{given} has several folders of x{scale}: {places}; give one of them")
    return (of_scale[0], str(of_scale[0].relative_to(root))) if of_scale else (root, "")


def _refuse_doubled(root: Path, inner: str, names: list[str], scale: int) -> None:
    """Refuse LR files directly in a folder, if a folder inside is for the scale.

    Raises:
        InputError: there are such files.
    """
    known = {name.lower() for name in names}
    doubled = [
        path.name
        for path in sorted(root.iterdir())
        if path.suffix.lower() in SUFFIXES
        and any(name in known and of == scale for name, of in hr_names(path.stem))
    ]
    if doubled:
        raise InputError(
            f"{root} has LR files of x{scale} in {inner}/ and beside it: {listed(doubled)}; give "
            f"{root / inner}, or move the others away"
        )


def _label(given: str) -> str:
    """What Results call the LR files of a folder: its name without the scale.

    `lr` for `lr`, `lr/x{scale}`, `lr/X4` and `lr_x4`. A folder does not pass for an LR set.
    """
    named = (_OF_SCALE.sub("", part) for part in reversed(Path(given).resolve().parts[1:]))
    label = spelled(next(filter(None, named), "LR"))
    return f"{label} (folder)" if label in _labels() else label
