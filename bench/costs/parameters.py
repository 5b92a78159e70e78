"""Number of parameters, in the literature's ways of counting: of the module, or of convolutions.

- MDSR has a path for each scale, and an output uses the path of a single scale.
- SRResNet's 1,545,219 are convolutions only, without batch normalisation and PReLU.
- MemNet's 676,992 are weights without biases.

Linear layers, dictionaries and tables of positions are in `parameters` only. `file_size` is the
size of the files of a method that is a file, in units of a million bytes.
"""

from __future__ import annotations

from torch import nn

from bench.costs import Cost, Subject
from bench.graph.counting import PRODUCTS
from bench.graph.growth import described, graph_at
from bench.graph.trace import Graph, Operator, Value, trace_method
from bench.network import program_of
from zoo.errors import InputError

TIMED = False
UNITS = {"parameters": "", "conv_parameters": "", "conv_weights": "", "file_size": "MB"}
_LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def convolutional(graph: Graph, module: nn.Module) -> tuple[set[str], set[str]]:
    """Names of the weights, and of the biases, that convolutions used.

    A convolution is the operator, or a product in the module of a convolution layer: a subclass of
    the layer may compute it as a matrix product. A computed weight, as in weight normalisation,
    stands for all parameters that the weight is computed from. A bias is the bias argument of the
    operator, or a vector of parameters that the same module adds.

    Args:
        graph: of the module.
        module: the network, for the types of its layers.
    """
    layers = {name for name, layer in module.named_modules() if isinstance(layer, _LAYERS)}
    made_of: dict[int, frozenset[str]] = {}
    of_image = {graph.input.number}  # tensors that are computed from the network's input

    def names(value: Value | None) -> frozenset[str]:
        """Parameters that a tensor is computed from; none if the network's input has a part."""
        if value is None or value.number in of_image:
            return frozenset()
        return frozenset({value.parameter} - {""}) or made_of.get(value.number, frozenset())

    def adds_bias(operator: Operator) -> bool:
        return operator.name in ("add", "add_") and (
            operator.layer in layers
            or any(convolved.get(value.number) == operator.layer for value in operator.tensors)
        )

    convolved: dict[int, str] = {}  # outputs of convolutions; the layer that made the call
    weights: set[str] = set()
    biases: set[str] = set()
    for operator in graph.operators:
        if any(value.number in of_image for value in operator.tensors):
            of_image |= {output.number for output in operator.outputs}
        else:  # buffers have no names
            union = frozenset().union(*map(names, operator.tensors))
            made_of |= {output.number: union for output in operator.outputs}
        if operator.name == "convolution" or (
            operator.name in PRODUCTS and operator.layer in layers
        ):
            operands = PRODUCTS[operator.name]
            factors = [operands.right]
            if operator.name != "convolution":  # in a matrix product, either may be the weight
                factors.append(operands.left)
            for name in factors:
                weights |= names(operator.arguments[name])
            if operands.bias:
                biases |= names(operator.arguments[operands.bias])
            convolved[operator.out.number] = operator.layer
        elif adds_bias(operator):
            added = frozenset().union(*map(names, operator.tensors))
            # a parameter with more dimensions is no bias
            biases |= {name for name in added if len(graph.parameters[name]) == 1}
    return weights, biases - weights


def _of_small(subject: Subject) -> Graph:
    return trace_method(subject.method, subject.module, subject.scale)


def _of_720p(subject: Subject) -> Graph:
    return graph_at(subject.method, subject.module, subject.scale, subject.lr_720p)


def measure(subject: Subject) -> dict[str, Cost]:
    """Numbers of parameters; a shared tensor counts once.

    `parameters` counts the whole module. The other quantities count only parameters that the
    forward pass at this scale uses for a 1280x720 output: `conv_parameters` the weights and biases
    of convolutions, `conv_weights` only the weights. A note says if a small image uses others. Both
    are left out if the forward pass cannot be traced.

    Raises:
        InputError: an external program computes the module, and shows none.
    """
    module = subject.module
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    everything = {"parameters": Cost(float(sum(sizes.values())))}
    if subject.files:
        everything["file_size"] = Cost(sum(path.stat().st_size for path in subject.files) / 1e6)
    used = []
    reason = ""
    for trace in (_of_small, _of_720p):
        try:
            used.append(convolutional(trace(subject), module))
        except InputError as error:  # a network may refuse a size
            reason = str(error)
    if not used and not sizes and program_of(module):
        raise InputError(reason)
    if not used:
        return everything
    weights, biases = used[-1]
    note = ""
    if used[0] != used[-1]:
        note = f"those used at {described(subject.lr_720p)}; depends on the size"
    total = sum(sizes[name] for name in weights)
    return everything | {
        "conv_parameters": Cost(float(total + sum(sizes[name] for name in biases)), note=note),
        "conv_weights": Cost(float(total), note=note),
    }
