"""The commands that make files of datasets: lr, pin."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.terminal import say
from zoo.errors import InputError
from zoo.method import SCALE, at_scale

if TYPE_CHECKING:
    from bench.datasets import Dataset
    from bench.progress import Progress
    from bench.protocol import Protocol


@click.command()
@click.option(
    "-d",
    "--dataset",
    "name",
    required=True,
    type=options.DATASET,
    metavar="DATASET|DIR",
    help="The HR images: a set's name, or a folder.",
)
@options.scale
@options.protocol
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    help="Folder that receives x4/NAMEx4.png and x4.csv for x4; with {scale} in its name, "
    "NAMEx4.png and, beside the folder, the manifest.",
)
def lr(name: str, scales: tuple[int, ...], protocol_name: str, out: str) -> int:
    """Write the LR files that a protocol makes, to give to other programs.

    \b
    sisrbench lr -d set5 -s 4 --protocol rcan2018 --out lr
    sisrbench score sr/x4 -d set5 -s 4 --protocol rcan2018      what the program made of them

    The files are 8-bit PNG: what an RGB method gets. The manifest has sizes and hashes, and the
    hash of each HR file. Files that are there already are kept if they are the same; a file that
    differs is refused, and nothing is written.
    """  # noqa: D301
    from bench import datasets
    from bench import protocol as protocols
    from bench.files.whole import write_whole
    from bench.progress import Progress

    rules = protocols.load(protocol_name)
    if not rules.round_lr:
        whole = [rule.name for rule in protocols.PROTOCOLS.values() if rule.round_lr]
        raise InputError(
            f"{rules.name} leaves LR unrounded, which an 8-bit file cannot hold; give --protocol "
            f"with one of: {', '.join(whole)}"
        )
    progress = Progress()
    dataset = datasets.load(name, progress)
    if rules.degrade == "luma":
        say(
            f"{rules.name} makes a luma method's LR of luma in double; these files are the LR of "
            "an RGB method, of the RGB image in 8 bits",
            error=True,
        )
    for scale in dict.fromkeys(scales or (2, 3, 4)):
        folder = Path(at_scale(out, scale)) if SCALE in out else Path(out) / f"x{scale}"
        with progress.work(1, len(dataset.images)), progress.piece(str(folder)) as lines:
            contents = _files(dataset, scale, rules, folder, progress)
            new = {path: content for path, content in contents.items() if not path.exists()}
            for path, content in contents.items():
                if path not in new and path.read_bytes() != content:
                    raise InputError(
                        f"{path} exists and has other contents; delete it, or give another --out"
                    )
            write_whole(new)
            lines.append(f"{len(new)} files written, {len(contents) - len(new)} were there")
    return 0


def _files(
    dataset: Dataset, scale: int, rules: Protocol, folder: Path, progress: Progress
) -> dict[Path, bytes]:
    """The LR files of a dataset at a scale and their manifest, by path.

    Raises:
        InputError: an image cannot be read, or is smaller than the scale.
    """
    import torch

    from bench import images
    from bench.datasets import pinned
    from bench.evaluate import hr_and_lr

    contents: dict[Path, bytes] = {}
    rows = []
    for image in dataset.images:
        pixels = images.decode(image.path)
        try:
            _, made = hr_and_lr(pixels, scale, rules, "RGB", torch.device("cpu"))
        except InputError as error:
            raise InputError(f"{image.path}, x{scale}: {error}") from error
        path = folder / f"{image.name}x{scale}.png"
        content = images.encode_png(images.to_pixels(made))
        contents[path] = content
        sha256 = hashlib.sha256(content).hexdigest()
        rows.append(pinned.Row(f"LR_x{scale}", image.name, path.name, len(content), sha256))
        progress.advance()
    header = {
        "dataset": dataset.name,
        "scale": str(scale),
        "protocol": rules.name,
        "rules": rules.sha256,
        "citation": dataset.citation,
        "licence": dataset.licence,
    }
    text = pinned.text(header, rows, [image.sha256 for image in dataset.images])
    contents[folder.with_name(f"{folder.name}.csv")] = text.encode()
    return contents


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", help="The set's name in tables.  [default: the folder's name]")
@click.option("--licence", default="", help="On what terms others may use the images.")
@click.option("--citation", default="", help="The source of the images.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The manifest.  [default: NAME.csv]",
)
def pin(folder: Path, name: str | None, licence: str, citation: str, out: Path | None) -> int:
    """Write a manifest of a folder of HR images, by which it is known again wherever it lies.

    \b
    sisrbench pin DIV2K_valid_HR --name div2k-valid --citation "Agustsson, Timofte, CVPRW 2017"
    sisrbench run -m espcn -d div2k-valid.csv=/data/DIV2K_valid_HR

    The manifest has the name, size and SHA-256 of each image. With it, a folder in which an image
    is missing, changed, renamed or too many is refused. A manifest that is there already and
    differs is not overwritten.
    """  # noqa: D301
    from bench import datasets, images
    from bench.datasets import pinned
    from bench.files.whole import write_whole
    from bench.progress import Progress
    from zoo.errors import plain

    if not folder.is_dir():
        raise InputError(f"no folder {str(folder)!r}; give a folder of HR images")
    called = name if name is not None else folder.resolve().name
    datasets.refuse_name(called, "the manifest")
    if out is None and {"/", "\\"} & {*called}:
        raise InputError(f"the name {called!r} is no file's name; give --out FILE.csv")
    target = out or Path(f"{called}.csv")
    if target.suffix.lower() != ".csv":
        raise InputError(f"--out {target}; give a file whose name ends with .csv")
    progress = Progress()
    dataset = datasets.of_folder(folder, progress)
    rows = []
    with progress.work(1, len(dataset.images)), progress.piece(str(target)) as lines:
        for image in dataset.images:
            if plain(image.path.name) != image.path.name:
                raise InputError(
                    f"{plain(str(image.path))}: a manifest holds printable names only; rename the "
                    "file"
                )
            images.decode(image.path)  # a set that cannot be measured is not worth sharing
            size = image.path.stat().st_size
            rows.append(pinned.Row("HR", image.name, image.path.name, size, image.sha256))
            progress.advance()
        header = dict(zip(pinned.HEADER, (called, citation, licence), strict=True))
        content = pinned.text(header, rows).encode()
        if not target.exists():
            write_whole({target: content})
            lines.append(f"{len(rows)} images written")
        elif not target.is_file() or target.read_bytes() != content:
            raise InputError(
                f"{target} exists and has other contents; delete it, or give another --out"
            )
        else:
            lines.append(f"{len(rows)} images, written before")
    say(f"sisrbench run -m METHOD -d {shlex.quote(f'{target}={folder}')}")
    return 0
