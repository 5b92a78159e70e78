"""Number of parameters, in the literature's ways of counting: of the module, or of convolutions.

- MDSR has a path for each scale, and an output uses the path of a single scale.
- SRResNet's 1,545,219 are convolutions only, without batch normalisation and PReLU.
- MemNet's 676,992 are weights without biases.
"""

from __future__ import annotations

from bench.costs import Cost, Subject
from bench.graph.counting import PRODUCTS
from bench.graph.growth import described, graph_at
from bench.graph.trace import Graph, Value, trace_method
from zoo.errors import InputError

TIMED = False
UNITS = {"parameters": "", "conv_parameters": "", "conv_weights": ""}


def convolutional(graph: Graph) -> tuple[set[str], set[str]]:
    """Names of the weights, and of the biases, that convolutions and linear layers used.

    A computed weight, as in weight normalisation, stands for all parameters that the weight is
    computed from. A bias is the bias argument of the operator, or a vector of parameters that is
    added in a module with a product: on some layouts, a linear layer adds the bias by a separate
    operator.
    """
    made_of: dict[int, frozenset[str]] = {}

    def names(value: Value) -> frozenset[str] | None:
        """Parameters that a tensor is computed from; None if the network's input has a part."""
        return frozenset({value.parameter}) if value.parameter else made_of.get(value.number)

    layers = {operator.layer for operator in graph.operators if operator.name in PRODUCTS}
    weights: set[str] = set()
    biases: set[str] = set()
    for operator in graph.operators:
        parts = [names(value) for value in operator.tensors]
        if None not in parts:
            union = frozenset().union(*filter(None, parts))
            made_of |= {output.number: union for output in operator.outputs}
        if operator.name in PRODUCTS:
            operands = PRODUCTS[operator.name]
            weights |= names(operator.arguments[operands.right]) or frozenset()
            bias = operator.arguments[operands.bias] if operands.bias else None
            biases |= (names(bias) if bias is not None else None) or frozenset()
        elif operator.name in ("add", "add_") and operator.layer in layers:
            for found in filter(None, parts):  # a parameter with more dimensions is no bias
                biases |= {name for name in found if len(graph.parameters[name]) == 1}
    return weights, biases - weights


def _of_small(subject: Subject) -> Graph:
    return trace_method(subject.method, subject.module, subject.scale)


def _of_720p(subject: Subject) -> Graph:
    return graph_at(subject.method, subject.module, subject.scale, subject.lr_720p)


def measure(subject: Subject) -> dict[str, Cost]:
    """Numbers of parameters; a shared tensor counts once.

    `parameters` counts the whole module. The other quantities count only parameters that the
    forward pass at this scale uses for a 1280x720 output: `conv_parameters` the weights and biases
    of convolutions and linear layers, `conv_weights` only the weights. A note says if a small image
    uses others. Both are left out if the forward pass cannot be traced.
    """
    module = subject.module
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    everything = Cost(float(sum(sizes.values())))
    used = []
    for trace in (_of_small, _of_720p):
        try:
            used.append(convolutional(trace(subject)))
        except InputError:  # a network may refuse a size
            continue
    if not used:
        return {"parameters": everything}
    weights, biases = used[-1]
    note = ""
    if used[0] != used[-1]:
        note = f"those used at {described(subject.lr_720p)}; depends on the size"
    total = sum(sizes[name] for name in weights)
    return {
        "parameters": everything,
        "conv_parameters": Cost(float(total + sum(sizes[name] for name in biases)), note=note),
        "conv_weights": Cost(float(total), note=note),
    }
