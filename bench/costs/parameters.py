"""Number of parameters, as the literature counts them: of the module, or of its convolutions.

MDSR has one path a scale, of which one output uses one; SRResNet's 1,545,219 are its convolutions
alone, without batch normalisation and PReLU; MemNet's 676,992 are weights without biases.
"""

from __future__ import annotations

from bench.costs import Cost, Subject
from bench.graph.counting import PRODUCTS
from bench.graph.trace import Graph, Value, trace_method
from zoo.errors import InputError

TIMED = False
UNITS = {"parameters": "", "conv_parameters": "", "conv_weights": ""}


def convolutional(graph: Graph) -> tuple[set[str], set[str]]:
    """Names of the weights and of the biases that convolutions and linear layers used.

    A weight that is computed, as weight normalisation does, stands for all parameters that it is
    computed from. A bias is what the operator itself adds, or a vector of parameters added where
    a product runs, since a linear layer on some layouts adds its bias with an operator of its own.
    """
    made_of: dict[int, frozenset[str]] = {}

    def names(value: Value) -> frozenset[str] | None:
        """Parameters that a tensor is computed from; None where the input has a part in it."""
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
            for found in filter(None, parts):
                biases |= {name for name in found if len(graph.parameters[name]) == 1}
    return weights, biases - weights


def measure(subject: Subject) -> dict[str, Cost]:
    """`parameters` are all of the module; the others those that the pass at this scale uses.

    `conv_parameters` are weights and biases of convolutions and linear layers, `conv_weights` the
    weights alone; a tensor that is shared, or used again and again, counts once. They are left
    out where the pass cannot be traced.
    """
    module = subject.module
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    everything = Cost(float(sum(sizes.values())))
    try:
        graph = trace_method(subject.method, module, subject.scale)
    except InputError:
        return {"parameters": everything}
    weights, biases = convolutional(graph)
    used = sum(sizes[name] for name in weights)
    return {
        "parameters": everything,
        "conv_parameters": Cost(float(used + sum(sizes[name] for name in biases))),
        "conv_weights": Cost(float(used)),
    }
