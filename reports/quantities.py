"""How a quantity is called, and how its values are written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.result import metric_and_channel

UNMEASURED = "\N{EN DASH}"
"""Stands where a value was not measured; the page never says nan."""

_SUFFIXES = {"K": 1e3, "M": 1e6, "G": 1e9}
"""Of counts as papers print them."""

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Wording:
    """The words and digits of one quantity."""

    name: str
    """As a heading: "PSNR (Y)"."""

    decimals: int | None = None
    """Digits after the point; None where significant figures count instead."""

    figures: int = 4
    """Significant figures, where the decimals are not fixed."""


COSTS = {
    "multiplies_per_input_px": Wording("multiplies per input px"),
    "interpolation_multiplies_per_input_px": Wording("interpolation, per input px"),
    "elementwise_multiplies_per_input_px": Wording("elementwise, per input px"),
    "multiplies_per_output_px": Wording("multiplies per output px"),
    "multiplies_720p": Wording("multiplies, 1280\N{MULTIPLICATION SIGN}720"),
    "multadds_720p": Wording("as the literature counts, 1280\N{MULTIPLICATION SIGN}720"),
    "additions_per_input_px": Wording("additions per input px"),
    "activations_720p": Wording("activations, 1280\N{MULTIPLICATION SIGN}720"),
    "parameters": Wording("parameters", decimals=0),
    "conv_parameters": Wording("parameters of convolutions in use", decimals=0),
    "conv_weights": Wording("their weights, without biases", decimals=0),
    "receptive_field": Wording("receptive field", decimals=0),
    "peak_memory": Wording("peak memory, 1280\N{MULTIPLICATION SIGN}720"),
    "seconds": Wording("seconds", figures=3),
    "seconds_p10": Wording("seconds, 10th percentile", figures=3),
    "seconds_p90": Wording("seconds, 90th percentile", figures=3),
    "roofline_fraction": Wording("share of the roofline", figures=2),
    "device_memory": Wording("peak memory of the device"),
}
"""In the order in which a table shows them."""


def quantity(key: str) -> Wording:
    """The quantity of that name; one that nobody described is shown under its own name.

    >>> quantity("psnr_y").name, quantity("colour_error").name
    ('PSNR (Y)', 'colour error')
    """
    family, channel = metric_and_channel(key)
    suffix = f" ({channel.upper()})"
    if family == "psnr":
        return Wording(f"PSNR{suffix}", decimals=2)
    if family == "ssim":
        return Wording(f"SSIM{suffix}", decimals=4)
    return COSTS.get(key, Wording(key.replace("_", " ")))


def heading(key: str, unit: str) -> str:
    """A quantity's name and unit.

    >>> heading("psnr_y", "dB"), heading("ssim_y", "")
    ('PSNR (Y), dB', 'SSIM (Y)')
    """
    name = quantity(key).name
    return f"{name}, {unit}" if unit and unit != name and unit != "s" else name


def written(key: str, value: float) -> str:
    """A value with the digits that a table shows.

    >>> written("psnr_y", 36.3449), written("ssim_y", 0.95421), written("parameters", 8129.0)
    ('36.34', '0.9542', '8,129')
    """
    if math.isnan(value):
        return UNMEASURED
    known = quantity(key)
    if known.decimals is None or math.isinf(value):
        digits = significant(value, known.figures)
        return digits if key.startswith("seconds") else trimmed(digits)
    return fixed(value, known.decimals)


def spread(value: str, width: float) -> str:
    """A spread, as fine as the value that it stands beside; finer where that would make it 0.

    >>> spread("1.25", 0.0361), spread("0.00118", 0.000001)
    ('0.04', '0.000001')
    """
    digits = fixed(width, decimals_of(value))
    return digits if width == 0 or digits.strip("0.") else significant(width, 1)


def exact(key: str, value: float, unit: str = "") -> str:
    """A value with more digits than a table shows, and its unit: for a tooltip.

    >>> exact("psnr_y", 36.34491, "dB"), exact("ssim_y", 0.9542137)
    ('36.3449 dB', '0.954214')
    """
    if math.isnan(value):
        return "not measured"
    known = quantity(key)
    digits = fixed(value, known.decimals + 2) if known.decimals else trimmed(significant(value, 8))
    return f"{digits} {unit}".rstrip()


def fixed(value: float, decimals: int) -> str:
    """A number with that many decimals, a true minus sign and commas between thousands.

    >>> fixed(40729.6, 2), fixed(-0.001, 2)
    ('40,729.60', '0.00')
    """
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else f"{MINUS}\N{INFINITY}"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.removeprefix("-")


def significant(value: float, figures: int) -> str:
    """A number with that many significant figures, or more where its whole part has more.

    Never in exponent form.

    >>> significant(0.0321284, 4), significant(612.591, 4), significant(40729600, 4)
    ('0.03213', '612.6', '40,729,600')
    """
    if not value or math.isinf(value):
        return fixed(value, 0)
    magnitude = math.floor(math.log10(abs(float(f"{value:.{figures - 1}e}"))))
    return fixed(value, max(0, figures - 1 - magnitude))


def tolerance(value: float) -> str:
    """A tolerance, without idle zeros.

    >>> tolerance(0.005), tolerance(0.00005)
    ('±0.005', '±0.00005')
    """
    if math.isnan(value):
        return UNMEASURED
    return f"\N{PLUS-MINUS SIGN}{trimmed(significant(value, 3))}"


def trimmed(digits: str) -> str:
    """A number without idle zeros: those of an exact count say nothing about its precision.

    >>> trimmed("0.03000"), trimmed("300")
    ('0.03', '300')
    """
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def signed(value: float, decimals: int) -> str:
    """A difference with its sign.

    >>> signed(0.05, 3), signed(0.0, 3)
    ('+0.050', '0.000')
    """
    text = fixed(value, decimals)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def like_printed(printed: str, key: str, value: float) -> str:
    """A measured value with as many decimals as the paper prints.

    Where that would leave fewer than two significant figures (0.01 s beside a printed 7.0), it
    is written as in any other table.

    >>> like_printed("36.34", "psnr_y", 36.3449), like_printed("7.0", "seconds", 0.0123)
    ('36.34', '0.0123')
    >>> like_printed("1.5M", "parameters", 1517571.0)
    '1.5M'
    """
    if math.isnan(value):
        return UNMEASURED
    if printed[-1:] in _SUFFIXES:
        return like_printed(printed[:-1], key, value / _SUFFIXES[printed[-1]]) + printed[-1]
    decimals = decimals_of(printed)
    too_few = 0 < abs(value) < 10 ** (1 - decimals)
    return written(key, value) if too_few else fixed(value, decimals)


def decimals_of(printed: str) -> int:
    """How many decimals a printed number has.

    >>> decimals_of("36.34"), decimals_of("8,032"), decimals_of("0.9542*")
    (2, 0, 4)
    """
    fraction = printed.partition(".")[2]
    return len(fraction) - len(fraction.lstrip("0123456789"))
