"""Text about a method for the terminal: the card, the layers, and the claims of papers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

import rich.markup
from rich import box
from rich.table import Table
from torch import nn

from bench.cli.terminal import say
from bench.costs import OUTPUT_720P
from bench.files import fetch
from bench.files.fetch import RemoteFile
from bench.files.weights import remote
from bench.graph import counting, growth
from bench.graph.counting import Layer
from bench.graph.growth import Size
from bench.progress import console
from bench.published import Claim, PaperTable
from bench.training import provenance
from zoo.errors import InputError
from zoo.method import Method, Recipe, Weights
from zoo.recipe import Descent


def print_card(method: Method) -> None:
    """Print the method's citation, input, scales, settings, weights and recipes."""
    say(method.name, bold=True)
    say(f"  {method.citation}")
    interpolated = f", {method.kernel}" if method.takes == "interpolated" else ""
    say(f"  takes {method.takes} {method.channels}{interpolated}")
    if method.scales:
        say(f"  scales {', '.join(f'x{scale}' for scale in method.scales)}")
    for key, value in method.settings.items():
        others = [str(c) for c in method.choices.get(key, ()) if c != value]
        say(f"  {key}={value}" + (f"   or {', '.join(others)}" if others else ""))
    files: dict[tuple[str, RemoteFile], list[Weights]] = {}
    for weights in method.weights:
        file = remote(weights)
        files.setdefault((weights.tag, file), []).append(weights)
    for (tag, file), shared in files.items():
        here = "here" if fetch.is_here(file) else "to be downloaded"
        default = ", the default" if tag == method.default_weights else ""
        scales = " ".join(f"x{weights.scale}" for weights in shared)
        say(f"  @{tag} {scales}{default}, {here}: {file.url}")
        say(f"      SHA-256 {file.sha256}; licence: {shared[0].licence}")
        for weights in shared:
            if weights.remark:
                say(f"      x{weights.scale}: {weights.remark}")
        if fetch.is_here(file):
            _print_training(provenance.facts_of(fetch.local_path(file)))
    if not method.weights:
        say("  no published weights")
    for recipe in method.recipes:
        _print_recipe(method, recipe)


def _print_training(facts: Mapping[str, str]) -> None:
    """Print the training and the PSNR of weights from `sisrbench train`; else nothing."""
    if not facts:
        return
    data = ", ".join(name for name, _ in json.loads(facts["data"]))
    updates = f", {int(facts['updates']):,} updates" if "updates" in facts else ""
    say(
        f"      learned by recipe {facts['recipe']} from {data}{updates}, in "
        f"{float(facts['seconds']):.0f} s on {facts['device']}, threads: {facts['threads']}"
    )
    reached = [
        f"{key.removeprefix('psnr ')} {float(value):.2f} dB"
        for key, value in sorted(facts.items())
        if key.startswith("psnr ")
    ]
    if reached:
        say(f"      {', '.join(reached)}, by {facts['validated by']}")
    rows = json.loads(facts.get("curve", "[]"))
    some = rows[-1 :: -(len(rows) // 5 or 1)][::-1]  # about five rows, always with the last
    curve = [f"{row['psnr']:.2f} after {row['update']:,.0f}" for row in some]
    if curve:
        say(f"      on {facts['validated on']} {', '.join(curve)}")


def _print_recipe(method: Method, recipe: Recipe) -> None:
    """Print a recipe: data, start, citation, settings, and the command that trains."""
    may = "starts" if recipe.needs_start else "may start"
    at = f" of x{recipe.starts_at}" if recipe.starts_at else ""
    start = f"; {may} from {recipe.starts_from}{at}" if recipe.starts_from else ""
    say(f"  recipe {recipe.name}, learns from {', '.join(recipe.data)}{start}")
    say(f"      {recipe.citation}")
    for key, value in recipe.settings.items():
        say(f"      {key}={value}")
    if isinstance(recipe.learn, Descent):
        _print_descent(recipe.learn)
    scale = min(method.scales or (2,))
    named = "" if recipe == method.recipes[0] else f" --recipe {recipe.name}"
    start = ""
    if recipe.starts_from:
        start = f" --from {recipe.starts_from}"
        start = start if recipe.needs_start else f" [{start.strip()}]"
    say(f"      sisrbench train {method.name} -s {scale}{named}{start}")


def _print_descent(descent: Descent) -> None:
    """Print each choice that is not the default, and a reason where the source is silent."""
    for entry in fields(descent):
        value = getattr(descent, entry.name)
        default = entry.default_factory() if callable(entry.default_factory) else entry.default
        if entry.name == "silent" or value == default:
            continue
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, each in parts:
            shown = ",".join(map(str, each)) if isinstance(each, tuple) else each
            key = f"{entry.name}.{part}" if part else entry.name
            reason = descent.silent.get(entry.name, "")
            say(f"      {key}={shown}" + (f"   ({reason})" if reason else ""))
    known = {entry.name for entry in fields(descent)}
    for subject, reason in descent.silent.items():
        if subject not in known:  # reasons that are about no field of Descent
            say(f"      {subject}: {reason}")


def print_layers(method: Method, module: nn.Module, scale: int) -> None:
    """A line for each layer that multiplies: its weight, output and multiplies.

    They are given for each LR pixel, or, if any depends on the image's size, for LR of a 1280x720
    output.
    """
    rows, columns = (math.ceil(side / scale) for side in OUTPUT_720P)
    try:
        grown = growth.of_method(method, module, scale, (rows, columns))
        for graph in grown.graphs.values():
            counting.refuse_unknown(graph)
        sizes = {size: counting.per_layer(graph) for size, graph in grown.graphs.items()}
        found = _layers_per_pixel(sizes)
        of = "one LR pixel"
        if found is None:
            stated = grown.graph(grown.stated)
            found = [
                (x, float(x.multiplies), float(x.elements)) for x in counting.per_layer(stated)
            ]
            of = grown.stated_in_words
    except InputError as error:  # the card is useful without the layers
        say()
        say(f"  layers: {error}")
        return
    total = sum(multiplies for _, multiplies, _ in found)
    table = Table(title=f"layers at x{scale}, of {of}", box=box.SIMPLE, title_justify="left")
    for column in ("layer", "kind", "weight", "output", "M multiplies", "share"):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for layer, multiplies, elements in found:
        channels = layer.output[1 if "convolution" in layer.kind else -1]
        calls = f" x{layer.calls}" if layer.calls > 1 else ""
        table.add_row(
            rich.markup.escape(layer.path or "-"),
            layer.kind + calls,
            "x".join(map(str, layer.weight)) or "-",
            f"{channels} x {elements / layer.calls / channels:g}",
            f"{multiplies / 1e6:.6f}",
            f"{multiplies / total:.1%}" if total else "",
        )
    table.add_row("all", "", "", "", f"{total / 1e6:.6f}", "")
    console().print(table)


def _layers_per_pixel(
    sizes: Mapping[Size, Sequence[Layer]],
) -> list[tuple[Layer, float, float]] | None:
    """Layers with their multiplies and output elements for each LR pixel.

    None if the sizes have other layers, or one whose work depends on the size.
    """
    if len({len(layers) for layers in sizes.values()}) > 1:
        return None
    found = []
    for place, layer in enumerate(next(iter(sizes.values()))):
        same = {(x.path, x.kind) for layers in sizes.values() for x in layers[place : place + 1]}
        multiplies, elements = (
            growth.per_pixel({size: getattr(layers[place], name) for size, layers in sizes.items()})
            for name in ("multiplies", "elements")
        )
        if len(same) > 1 or multiplies is None or elements is None:
            return None
        found.append((layer, multiplies, elements))
    return found


def print_claims(method: Method, tables: Iterable[PaperTable]) -> None:
    """Print every claim of the paper tables that names the method."""
    found = [
        (table, claim) for table in tables for claim in table.claims if method.name in claim.methods
    ]
    shown = Table(title=f"{len(found)} claims", box=box.SIMPLE, title_justify="left")
    for column in ("table", "what", "quantity", "printed", "protocol", "remark"):
        shown.add_column(column, justify="right" if column == "printed" else "left")
    for table, claim in found:
        shown.add_row(*map(rich.markup.escape, _claimed(table, claim)))
    if found:
        console().print(shown)


def _claimed(table: PaperTable, claim: Claim) -> tuple[str, ...]:
    """The cells of a claim: table, place, quantity, printed value, protocol, remark."""
    said = claim.result
    other = claim.text if claim.other else ""
    weights = f"@{said.weights}" if said.weights else ""
    scale = f"x{said.scale}" if said.scale else ""
    place = " ".join(filter(None, (other, weights, said.dataset, scale, said.image)))
    printed = f"{claim.printed} {said.unit}".strip()
    return table.name, place, said.quantity, printed, said.protocol, said.note
