"""Multiplications, counted operator by operator on the traced graph.

The convention:

- `multiplies_*`: 1 multiply per multiply-accumulate of convolutions, matrix products, weighted
  sums of rows and linear solves.
- `elementwise_multiplies_*`: multiplications and divisions of single elements (normalisation,
  residual scaling, PReLU's slope, an interpolation written as weighted sums).
- `interpolation_multiplies_*`: the protocol's interpolation before a method that takes
  interpolated LR.
- Additions, biases, activations, roots, comparisons and searches count 0, as in the literature.

The tables in `bench/graph/counting.py` say how each operator counts. An operator in no table raises
an error, so no operator counts as free by default.

Counts are for each pixel inside an image (`bench.graph.growth`). Work that a method leaves out at
the borders does not lower the count of the other pixels. A network that pads to a window, or
attends to all pixels, has no count per pixel: it is counted at the stated size. If the work depends
on the image, as for sparse coding, the traced forward pass does the mean work that the method's
file states.

`multadds_720p` is the literature's figure for an output of 1280x720. It differs from
`multiplies_720p` only for transposed convolutions. The literature's tables count a transposed
convolution as a convolution at the output's size: k * k * C_in * C_out for each output pixel. In
fact each input pixel meets each weight once, so the tables' count is stride^2 times the true cost.
Example: Ahn et al. (Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual
Network, ECCV 2018) tabulate 6.0, 5.0 and 4.6 G for FSRCNN at x2, x3 and x4. In truth, FSRCNN takes
2.9, 1.3 and 0.7 G.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.costs import Cost, Subject, at_720p, per_pixel
from bench.graph import growth
from bench.graph.counting import elementwise, multadds, products, refuse_unknown, total
from bench.graph.growth import FITTED
from bench.graph.trace import trace
from zoo.resample import imresize

TIMED = False
UNITS = {
    "multiplies_per_input_px": "M",
    "multiplies_per_output_px": "M",
    "multiplies_720p": "G",
    "multadds_720p": "G",
    "elementwise_multiplies_per_input_px": "M",
    "interpolation_multiplies_per_input_px": "M",
}


INTERPOLATED_SIDE = 16
"""Side of the LR image that the protocol's interpolation is counted on: any gives the same."""


class _Interpolation(nn.Module):
    """The protocol's interpolation of LR, (N, C, h, w) to (N, C, scale*h, scale*w)."""

    def __init__(self, scale: int, kernel: str) -> None:
        super().__init__()
        self.scale, self.kernel = scale, kernel

    def forward(self, x: Tensor) -> Tensor:
        return imresize(x, self.scale, kernel=self.kernel)


def measure(subject: Subject) -> dict[str, Cost]:
    """The quantities of UNITS, counted on shapes alone.

    Counts per pixel are for each pixel inside an image. Where a count depends on the image's size,
    the counts per pixel have no value, and those for a 1280x720 output are counted at that size.

    Raises:
        InputError: the forward pass reads values or leaves torch and so cannot be counted, or the
            output's size is not the size in the method's contract.
        UnknownOperatorError: the forward pass uses an operator that is in no table.
    """
    scale, method = subject.scale, subject.method
    grown = growth.of_method(method, subject.module, scale, subject.lr_720p)
    for graph in grown.graphs.values():
        refuse_unknown(graph)
    interpolation = 0.0
    if method.takes == "interpolated":
        side, channels = INTERPOLATED_SIDE, grown.graphs[FITTED[0]].input.shape[1]
        lr = torch.empty(1, channels, side, side, device="meta")
        before = trace(_Interpolation(scale, method.kernel), lr)
        # `imresize` is written as weighted sums, whose multiplies are elementwise.
        interpolation = sum(map(elementwise, before.operators)) / side**2
    return {
        "multiplies_per_input_px": per_pixel(grown, total(products), 1e6),
        "multiplies_per_output_px": per_pixel(grown, total(products), 1e6, scale**2),
        "multiplies_720p": at_720p(grown, total(products), scale, 1e9),
        "multadds_720p": at_720p(grown, total(multadds), scale, 1e9),
        "elementwise_multiplies_per_input_px": per_pixel(grown, total(elementwise), 1e6),
        "interpolation_multiplies_per_input_px": Cost(interpolation / 1e6),
    }
