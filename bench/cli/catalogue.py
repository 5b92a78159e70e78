"""The commands that show, list and download methods, datasets and so on: show, list, fetch."""

from __future__ import annotations

import click

from bench.cli import options
from bench.cli.terminal import say
from zoo.errors import unknown

KINDS = (
    "methods",
    "sources",
    "datasets",
    "tables",
    "experiments",
    "protocols",
    "metrics",
    "costs",
    "sections",
)


@click.command()
@click.argument("spec", type=options.METHOD, metavar="METHOD")
@click.option(
    "-s", "--scale", type=click.IntRange(2), help="Scale of the layers.  [default: the smallest]"
)
@options.trust_code
def show(spec: str, scale: int | None, trust_code: bool) -> int:
    """Show a method's card, layers, and the claims of papers."""
    # Imported here, as in every command, so that help and errors of usage do not load torch.
    import torch

    from bench import published, sources
    from bench.cli import card
    from bench.files import weights

    method, tag = sources.load_network(spec, trusted=trust_code)
    scale = scale or min(method.scales or (2,))
    if tag:
        weights.resolve(method, tag, scale)
    network = weights.build(method, weights.of_costs(method, scale), scale, torch.device("cpu"))
    card.print_card(method)
    card.print_layers(method, network, scale)
    card.print_claims(method, [published.load(name) for name in published.names()])
    return 0


@click.command(name="list")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
def list_(kinds: tuple[str, ...]) -> int:
    """List the names of methods, datasets, tables and other kinds.

    KIND is one of methods, sources, datasets, tables, experiments, protocols, metrics, costs,
    sections.
    """
    for kind in kinds:  # all checked first, so that an error stands alone
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)

    from bench.cli import listing

    for kind in kinds or KINDS:
        say(kind, bold=True)
        rows = listing.rows(kind)
        width = max((len(name) for name, _ in rows), default=0)
        for name, remark in rows:
            say(f"  {name:<{width}} {remark}".rstrip())
    return 0


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="DATASET|METHOD|METRIC...")
def fetch(names: tuple[str, ...]) -> int:
    """Download datasets, published weights, and files for metrics.

    \b
    sisrbench fetch set5 set14 b100 srcnn-9-1-5

    Files are checked by hash. An interrupted download is continued. SISRBENCH_CACHE names the
    folder of the cache. SISRBENCH_MIRROR names a folder or address to try first, with the same
    layout as the cache: github/OWNER/REPOSITORY/COMMIT/PATH, or HOST/PATH.
    """  # noqa: D301
    from bench.cli import listing
    from bench.files import fetch as downloads
    from bench.progress import Progress

    progress = Progress()
    wanted = {name: listing.files_of(name) for name in names}
    for name, (files, licence) in wanted.items():
        downloads.fetch_missing(name, files, progress)
        say(f"{name}: all {len(files)} files are here, in {downloads.cache_folder()}")
        say(f"{name}: licence: {licence}")
    return 0
