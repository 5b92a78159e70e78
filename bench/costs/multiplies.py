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

Counts are for each pixel inside an image (`bench.graph.trace.per_pixel`). Work that a method leaves
out at the borders does not lower the count of the other pixels. If the work depends on the image,
as for sparse coding, the traced forward pass does the mean work that the method's file states.

`multadds_720p` is the literature's figure for an output of 1280x720. It differs from
`multiplies_720p` only for transposed convolutions. The literature's tables count a transposed
convolution as a convolution at the output's size: k * k * C_in * C_out for each output pixel. In
fact each input pixel meets each weight once, so the tables' count is stride^2 times the true cost.
Example: Ahn et al. (Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual
Network, ECCV 2018) tabulate 6.0, 5.0 and 4.6 G for FSRCNN at x2, x3 and x4. In truth, FSRCNN takes
2.9, 1.3 and 0.7 G.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.costs import OUTPUT_720P, Cost, Subject
from bench.graph.counting import elementwise, multadds, products, refuse_unknown
from bench.graph.trace import SIDES, Operator, per_pixel, trace, trace_growing
from zoo.errors import InputError
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


class _Interpolation(nn.Module):
    """The protocol's interpolation of LR, (N, C, h, w) to (N, C, scale*h, scale*w)."""

    def __init__(self, scale: int, kernel: str) -> None:
        super().__init__()
        self.scale, self.kernel = scale, kernel

    def forward(self, x: Tensor) -> Tensor:
        return imresize(x, self.scale, kernel=self.kernel)


def measure(subject: Subject) -> dict[str, Cost]:
    """The quantities of UNITS, counted on shapes alone, for each pixel inside an image.

    Raises:
        InputError: the forward pass reads values or leaves torch and so cannot be counted, or the
            output's size is not the size in the method's contract.
        UnknownOperatorError: the forward pass uses an operator that is in no table.
    """
    scale, method = subject.scale, subject.method
    graphs = trace_growing(method, subject.module, scale)
    for graph, side in zip(graphs, SIDES, strict=True):
        refuse_unknown(graph)
        given = [value.shape[2:] for value in graph.outputs]
        if given != [(scale * side, scale * side)]:
            raise InputError(
                f"{method.name} gave {given or 'no tensor'} for LR of {side}x{side} px; expected "
                f"{scale * side}x{scale * side}: fix the method"
            )

    def counted(count: Callable[[Operator], int]) -> float:
        return per_pixel(sum(map(count, graph.operators)) for graph in graphs)

    interpolation = 0.0
    if method.takes == "interpolated":
        side, channels = SIDES[0], graphs[0].input.shape[1]
        lr = torch.empty(1, channels, side, side, device="meta")
        before = trace(_Interpolation(scale, method.kernel), lr)
        # `imresize` is written as weighted sums, whose multiplies are elementwise.
        interpolation = sum(map(elementwise, before.operators)) / side**2
    per_input = counted(products)
    per_output = per_input / scale**2
    rows, columns = OUTPUT_720P
    literature = counted(multadds) / scale**2 * rows * columns
    return {
        "multiplies_per_input_px": Cost(per_input / 1e6),
        "multiplies_per_output_px": Cost(per_output / 1e6),
        "multiplies_720p": Cost(per_output * rows * columns / 1e9),
        "multadds_720p": Cost(literature / 1e9),
        "elementwise_multiplies_per_input_px": Cost(counted(elementwise) / 1e6),
        "interpolation_multiplies_per_input_px": Cost(interpolation / 1e6),
    }
