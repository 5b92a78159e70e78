"""Names of quantities and digits of their values, as tables show them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.result import metric_and_channel

APPROXIMATE = "~"
"""Stands before a time that is scaled, or was measured on a busy machine."""
UNMEASURED = "\N{EN DASH}"
"""Stands for a value that was not measured. The page never says nan."""

_SUFFIXES = {"K": 1e3, "M": 1e6, "G": 1e9}
"""Suffixes of counts in papers (1.5M parameters), and their factors."""

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Wording:
    """The name and the number of digits with which a quantity is shown."""

    name: str
    """Without unit: "PSNR (Y)"."""

    decimals: int | None = None
    """Digits after the point; None to use `figures` instead."""

    figures: int = 4
    """Significant figures."""


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
    "file_size": Wording("size of the file"),
    "receptive_field": Wording("receptive field", decimals=0),
    "peak_memory": Wording("peak memory, 1280\N{MULTIPLICATION SIGN}720"),
    "seconds": Wording("seconds", figures=3),
    "seconds_p10": Wording("seconds, 10th percentile", figures=3),
    "seconds_p90": Wording("seconds, 90th percentile", figures=3),
    "processor_seconds": Wording("processor seconds", figures=3),
    "background_load": Wording("load of other processes", decimals=2),
    "roofline_fraction": Wording("share of the roofline", figures=2),
    "device_memory": Wording("peak memory of the device"),
}
"""Wordings of costs by quantity, in the order of a table's columns."""


def cost_position(key: str) -> int:
    """Sort key for a table's columns: the quantity's index in `COSTS`; all others come last.

    >>> sorted(["joules", "seconds", "parameters"], key=cost_position)
    ['parameters', 'seconds', 'joules']
    """
    return list(COSTS).index(key) if key in COSTS else len(COSTS)


def quantity(key: str) -> Wording:
    """The wording of a quantity. A quantity without a wording is shown under its own name.

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
    # The quantity "seconds" says its unit already.
    return f"{name}, {unit}" if unit and unit != name and unit != "s" else name


def written(key: str, value: float) -> str:
    """A value with the digits that a table shows; `UNMEASURED` for NaN.

    >>> written("psnr_y", 36.3449), written("ssim_y", 0.95421), written("parameters", 8129.0)
    ('36.34', '0.9542', '8,129')
    """
    if math.isnan(value):
        return UNMEASURED
    known = quantity(key)
    if known.decimals is None or math.isinf(value):
        digits = significant(value, known.figures)
        # Trailing zeros of a time are measured digits; those of a count say nothing.
        return digits if "seconds" in key else trimmed(digits)
    return fixed(value, known.decimals)


def spread(value: str, width: float) -> str:
    """A spread with as many decimals as the value, or one significant figure if that shows 0.

    Args:
        value: the value's digits.
        width: the spread, in the value's unit.

    >>> spread("1.25", 0.0361), spread("0.00118", 0.000001)
    ('0.04', '0.000001')
    """
    digits = fixed(width, decimals_of(value))
    return digits if width == 0 or digits.strip("0.") else significant(width, 1)


def exact(key: str, value: float, unit: str = "") -> str:
    """A value with its unit and more digits than a table shows, for a tooltip.

    >>> exact("psnr_y", 36.34491, "dB"), exact("ssim_y", 0.9542137)
    ('36.3449 dB', '0.954214')
    """
    if math.isnan(value):
        return "not measured"
    known = quantity(key)
    digits = fixed(value, known.decimals + 2) if known.decimals else trimmed(significant(value, 8))
    return f"{digits} {unit}".rstrip()


def fixed(value: float, decimals: int) -> str:
    """A number with a fixed number of decimals, a minus sign (not a hyphen) and thousands commas.

    >>> fixed(40729.6, 2), fixed(-0.001, 2)
    ('40,729.60', '0.00')
    """
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else f"{MINUS}\N{INFINITY}"
    text = f"{value:,.{decimals}f}"
    # A small negative number rounds to -0.00; zero has no sign.
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.removeprefix("-")


def significant(value: float, figures: int) -> str:
    """A number with `figures` significant figures, never in exponent form.

    All digits before the point are shown, even if there are more.

    >>> significant(0.0321284, 4), significant(612.591, 4), significant(40729600, 4)
    ('0.03213', '612.6', '40,729,600')
    """
    if not value or math.isinf(value):
        return fixed(value, 0)
    # Round first: 9.9999 with four figures is 10.00, one power of ten larger.
    magnitude = math.floor(math.log10(abs(float(f"{value:.{figures - 1}e}"))))
    return fixed(value, max(0, figures - 1 - magnitude))


def tolerance(value: float) -> str:
    """A tolerance without trailing zeros.

    >>> tolerance(0.005), tolerance(0.00005)
    ('±0.005', '±0.00005')
    """
    if math.isnan(value):
        return UNMEASURED
    return f"\N{PLUS-MINUS SIGN}{trimmed(significant(value, 3))}"


def trimmed(digits: str) -> str:
    """A number without trailing zeros after the point.

    For exact counts, where trailing zeros say nothing about precision.

    >>> trimmed("0.03000"), trimmed("300")
    ('0.03', '300')
    """
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def signed(value: float, decimals: int) -> str:
    """A difference with its sign; none for a difference that rounds to 0.

    >>> signed(0.05, 3), signed(0.0, 3)
    ('+0.050', '0.000')
    """
    text = fixed(value, decimals)
    return f"+{text}" if value > 0 and text.strip("0.,") else text


def like_printed(printed: str, key: str, value: float) -> str:
    """A measured value with as many decimals as the printed value.

    If fewer than two significant figures would remain (0.01 s beside a printed 7.0), the value is
    written as in any other table.

    Args:
        printed: the paper's digits.
        key: the quantity.
        value: the measured value; NaN gives `UNMEASURED`.

    >>> like_printed("36.34", "psnr_y", 36.3449), like_printed("7.0", "seconds", 0.0123)
    ('36.34', '0.0123')
    >>> like_printed("1.5M", "parameters", 1517571.0)
    '1.5M'
    """
    if math.isnan(value):
        return UNMEASURED
    if printed[-1:] in _SUFFIXES:
        # 1.5M: the value is written in millions too, with one decimal.
        return like_printed(printed[:-1], key, value / _SUFFIXES[printed[-1]]) + printed[-1]
    decimals = decimals_of(printed)
    too_few = 0 < abs(value) < 10 ** (1 - decimals)
    return written(key, value) if too_few else fixed(value, decimals)


def decimals_of(printed: str) -> int:
    """The number of decimals of a printed number.

    >>> decimals_of("36.34"), decimals_of("8,032"), decimals_of("0.9542*")
    (2, 0, 4)
    """
    fraction = printed.partition(".")[2]
    # A footnote mark may follow the digits.
    return len(fraction) - len(fraction.lstrip("0123456789"))
