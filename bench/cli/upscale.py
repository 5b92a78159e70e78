"""The command for the user's own pictures: upscale."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli import options
from bench.inference import Inference
from zoo.errors import InputError


@click.command()
@click.argument("spec", type=options.METHOD, metavar="METHOD")
@click.argument("pictures", nargs=-1, required=True, metavar="IMAGE...", type=click.Path())
@click.option("-s", "--scale", type=click.IntRange(2), default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default=True,
    help="Folder that receives IMAGE_xSCALE_METHOD.png.",
)
@options.trust_code
@options.inference
def upscale(
    spec: str,
    pictures: tuple[str, ...],
    scale: int,
    device: str,
    out: Path,
    inference: Inference,
    trust_code: bool,
) -> int:
    """Enlarge pictures of your own.

    If the method takes luma, chroma is interpolated bicubically.
    """
    if len({Path(name).stem for name in pictures}) < len(pictures):  # from two folders, say
        raise InputError(
            "two pictures would be written to the same file; use two commands and another --out"
        )
    for name in pictures:
        if not Path(name).is_file():
            raise InputError(f"no image {name!r}; give the path of a picture")

    import torch

    from bench import images
    from bench import protocol as protocols
    from bench.files.whole import write_whole
    from bench.progress import Progress
    from bench.session import OWN_PICTURES, Upscaler

    torch.backends.cudnn.deterministic = True
    progress = Progress()
    enlarged = Upscaler(
        spec,
        scale,
        protocols.load(OWN_PICTURES),
        device,
        inference,
        progress,
        trust_code=trust_code,
    )
    targets = [out / f"{Path(name).stem}_x{scale}_{enlarged.label}.png" for name in pictures]
    with progress.work(len(targets), len(targets)):
        for name, target in zip(pictures, targets, strict=True):
            with progress.piece(name) as lines:
                lr = images.to_tensor(images.decode(Path(name)), enlarged.device)
                write_whole({target: images.encode_png(images.to_pixels(enlarged(lr)))})
                progress.advance()
                lines += [str(target), *enlarged.fallbacks()]
    return 0
