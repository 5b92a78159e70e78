"""The rows that `list` prints for each kind, and the files that `fetch` downloads for a name."""

from __future__ import annotations

from collections.abc import Callable

import zoo
from bench import costs, datasets, experiments, metrics, published
from bench import protocol as protocols
from bench.files import fetch
from bench.files import weights as weight_files
from bench.files.fetch import RemoteFile
from bench.sources import kinds as source_kinds
from reports import page
from zoo.errors import InputError, unknown


def rows(kind: str) -> list[tuple[str, str]]:
    """(name, remark) of every entry of a kind in `bench.cli.catalogue.KINDS`."""
    return _LISTED[kind]()


def _in_short(name: str) -> str:
    """The input and the weights of a method, in a line; for a broken file, the error message."""
    try:
        method = zoo.load(name)[0]
    except InputError as error:
        return f"broken: {error}"
    tags: dict[str, list[str]] = {}
    for weights in method.weights:
        tags.setdefault(weights.tag, []).append(f"x{weights.scale}")
    kinds = {"luma": "luma", "RGB": "RGB", "any": "luma or RGB"}
    known = "; ".join(f"@{tag}: {' '.join(scales)}" for tag, scales in tags.items())
    takes = f"{method.takes} {kinds[method.channels]}"
    return f"{takes:<26} {known}"


def _listed_sources() -> list[tuple[str, str]]:
    """(field, state of the extra and an example) of every source of a method."""
    rows = []
    for source in source_kinds.known():
        state = "ready"
        if source.missing:
            state = f"needs pip install 'sisrbench[{source.extra}]'"
        rows.append((source.field, f"{state:<44} -m {source.example}"))
    return [*rows, ("a card", f"{'ready':<44} -m mine.toml")]


def _listed_datasets() -> list[tuple[str, str]]:
    """(name, number of images) of every dataset."""
    rows = []
    for name in datasets.names():
        files = datasets.manifest(name).role("HR").values()
        # Existence only: hashing every image would make the listing slow.
        here = all(fetch.local_path(file).is_file() for file in files)
        rows.append((name, f"{len(files):>3} images{'' if here else ', to be downloaded'}"))
    return rows


_LISTED: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "methods": lambda: [(name, _in_short(name)) for name in zoo.names()],
    "sources": _listed_sources,
    "datasets": _listed_datasets,
    "tables": lambda: [(name, published.load(name).title) for name in published.names()],
    "experiments": lambda: [(name, experiments.load(name).title) for name in experiments.names()],
    "protocols": lambda: [(name, known.source) for name, known in protocols.PROTOCOLS.items()],
    "metrics": lambda: [(name, "") for name in metrics.names()],
    "costs": lambda: [(name, "") for name in costs.names()],
    "sections": lambda: [(name, "") for name in page.names()],
}


def files_of(name: str) -> tuple[list[RemoteFile], str]:
    """The files of a dataset, metric or method, and the licence.

    Raises:
        InputError: no dataset, metric or method has this name, or there are no files to download.
    """
    if name in datasets.names():
        manifest = datasets.manifest(name)
        return [file for _, _, file in manifest.files], manifest.licence
    if name in metrics.names() and metrics.remote_files(name):
        return list(metrics.remote_files(name)), metrics.licence(name)
    try:
        method, tag = zoo.load(name)
    except InputError:
        fetched = [metric for metric in metrics.names() if metrics.remote_files(metric)]
        raise unknown(
            "dataset, method or metric", name, [*datasets.names(), *zoo.names(), *fetched]
        ) from None
    published_weights = [weights for weights in method.weights if tag in ("", weights.tag)]
    if not published_weights:
        raise InputError(f"{name} has no published weights to fetch; choose another")
    # Weights of several scales may lie in the same file.
    files = list(dict.fromkeys(weight_files.remote(found) for found in published_weights))
    return files, "; ".join(dict.fromkeys(found.licence for found in published_weights))
