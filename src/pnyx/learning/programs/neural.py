"""Rules of layers, products of matrices, and losses."""

from math import prod

from pnyx.learning.programs.operations import (
    Outcome,
    TensorType,
    of,
    one,
    operation,
    require,
    require_float,
)
from pnyx.learning.programs.sizes import Shape, broadcast, is_batch

_STEP_WORK = 1 << 16  # what one step of a recurrence costs, however small it is
_STEP_BYTES = 1 << 14
_EXPONENTIALS = 32  # work for each element of a softmax
_FLOAT_BYTES = 4
_INDEX_BYTES = 8


@operation("tensor", "tensor", "tensor?")
def linear(x: TensorType, weight: TensorType, bias: TensorType | None) -> Outcome:
    """x [..., inputs] times weight [outputs, inputs], plus bias [outputs]."""
    require_float(x, weight, bias)
    require(len(x.shape) >= 1 and len(weight.shape) == 2, "takes a matrix of weights")
    outputs, inputs = weight.shape
    require(x.shape[-1] == inputs, "has weights of another width than its argument")
    require(bias is None or bias.shape == (outputs,), "has a bias that does not fit")
    result = of((*x.shape[:-1], outputs), "float32", x, weight, bias)
    return one(result, work_each=2 * inputs, scratch=x.bytes)


@operation("tensor", "tensor")
def matmul(x: TensorType, y: TensorType) -> Outcome:
    """Products of matrices [..., rows, inner] and [..., inner, columns]."""
    require_float(x, y)
    require(len(x.shape) >= 2 and len(y.shape) >= 2, "takes matrices")
    require(x.shape[-1] == y.shape[-2], "has matrices that do not fit together")
    lead = broadcast(x.shape[:-2], y.shape[:-2]) if len(x.shape) + len(y.shape) > 4 else ()
    result = of((*lead, x.shape[-2], y.shape[-1]), "float32", x, y)
    repeated = prod(lead) * (x.shape[-2] * x.shape[-1] + y.shape[-2] * y.shape[-1])
    return one(result, work_each=2 * x.shape[-1], scratch=repeated * _FLOAT_BYTES)


def _windows(
    shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> tuple[int, ...]:
    """Sizes after sliding a window over the last axes."""
    rank = len(kernel)
    require(rank == len(stride) == len(padding) == len(dilation), "has settings of wrong length")
    require(all(k >= 1 and s >= 1 and d >= 1 for k, s, d in zip(kernel, stride, dilation,
            strict=True)), "has a window, a stride or a dilation below 1")  # fmt: skip
    require(all(0 <= p <= k * d for p, k, d in zip(padding, kernel, dilation, strict=True)),
            "pads by more than its window")  # fmt: skip
    found = tuple(
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(shape[-rank:], kernel, stride, padding, dilation, strict=True)
    )
    require(all(size >= 1 for size in found), "has a window larger than its argument")
    return found


def _convolved(
    x: TensorType,
    weight: TensorType,
    bias: TensorType | None,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
) -> Outcome:
    require_float(x, weight, bias)
    rank = len(stride)
    require(len(x.shape) == len(weight.shape) == rank + 2, "takes a batch of channels")
    outputs, inputs, *kernel = weight.shape
    require(groups >= 1 and x.shape[1] == inputs * groups, "has weights for other channels")
    require(not is_batch(x.shape[1]) and outputs % groups == 0, "cannot be grouped so")
    require(bias is None or bias.shape == (outputs,), "has a bias that does not fit")
    sizes = _windows(x.shape, tuple(kernel), stride, padding, dilation)
    result = of((x.shape[0], outputs, *sizes), "float32", x, weight, bias)
    unfolded = x.shape[0] * inputs * groups * prod(kernel) * prod(sizes)
    return one(result, work_each=2 * inputs * prod(kernel), scratch=unfolded * _FLOAT_BYTES)


@operation("tensor", "tensor", "tensor?", "ints", "ints", "ints", "int")
def conv1d(x: TensorType, weight: TensorType, bias: TensorType | None, stride: Shape,
           padding: Shape, dilation: Shape, groups: int) -> Outcome:  # fmt: skip
    """x [batch, channels, length]; weight [outputs, channels / groups, window]."""
    require(len(stride) == 1, "has one stride")
    return _convolved(x, weight, bias, stride, padding, dilation, groups)


@operation("tensor", "tensor", "tensor?", "ints", "ints", "ints", "int")
def conv2d(x: TensorType, weight: TensorType, bias: TensorType | None, stride: Shape,
           padding: Shape, dilation: Shape, groups: int) -> Outcome:  # fmt: skip
    """x [batch, channels, height, width]; weight [outputs, channels / groups, window, window]."""
    require(len(stride) == 2, "has two strides")
    return _convolved(x, weight, bias, stride, padding, dilation, groups)


@operation(
    "tensor", "ints", "ints", "ints", names=("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d")
)
def _pooled(x: TensorType, kernel: Shape, stride: Shape, padding: Shape) -> Outcome:
    require_float(x)
    rank = len(kernel)
    require(rank in (1, 2) and len(x.shape) == rank + 2, "takes a batch of channels")
    require(all(2 * p <= k for p, k in zip(padding, kernel, strict=False)), "pads too much")
    sizes = _windows(x.shape, kernel, stride, padding, (1,) * rank)
    result = of((*x.shape[:2], *sizes), "float32", x)
    return one(result, work_each=prod(kernel), scratch=result.number * _INDEX_BYTES)


@operation("tensor", "int", "tensor?", "tensor?", "scalar")
def layer_norm(x: TensorType, axes: int, weight: TensorType | None, bias: TensorType | None,
               _epsilon: float) -> Outcome:  # fmt: skip
    """Centre and scale each example over its last axes."""
    require_float(x, weight, bias)
    require(1 <= axes <= len(x.shape), "names axes that are not there")
    normal = x.shape[-axes:]
    require(all(p is None or p.shape == normal for p in (weight, bias)), "has weights not fitting")
    return one(of(x.shape, "float32", x, weight, bias), work_each=8, scratch=x.bytes)


def _per_channel(x: TensorType, *parameters: TensorType | None) -> None:
    require_float(x, *parameters)
    require(len(x.shape) >= 2 and not is_batch(x.shape[1]), "takes a batch of channels")
    fits = all(each is None or each.shape == (x.shape[1],) for each in parameters)
    require(fits, "has weights that do not fit")


@operation("tensor", "tensor?", "tensor?", "scalar")
def batch_norm(x: TensorType, weight: TensorType | None, bias: TensorType | None,
               _epsilon: float) -> Outcome:  # fmt: skip
    """Centre and scale each channel over the batch; see `interpreter` for evaluations."""
    _per_channel(x, weight, bias)
    return one(of(x.shape, "float32", x, weight, bias), work_each=8, scratch=x.bytes)


@operation("tensor", "int", "tensor?", "tensor?", "scalar")
def group_norm(x: TensorType, groups: int, weight: TensorType | None, bias: TensorType | None,
               _epsilon: float) -> Outcome:  # fmt: skip
    """Centre and scale groups of channels of each example."""
    _per_channel(x, weight, bias)
    require(groups >= 1 and x.shape[1] % groups == 0, "cannot be grouped so")
    return one(of(x.shape, "float32", x, weight, bias), work_each=8, scratch=x.bytes)


@operation("tensor", "scalar")
def dropout(x: TensorType, probability: float) -> Outcome:
    """Elements are 0 with a probability, in training only; the others grow in proportion."""
    require_float(x)
    require(0 <= probability < 1, "has a probability outside 0 to 1")
    return one(of(x.shape, "float32", x), work_each=8, scratch=2 * x.bytes)


@operation("tensor", "tensor", "int?")
def embedding(weight: TensorType, index: TensorType, padding: int | None) -> Outcome:
    """Rows of weight [rows, width] at int64 places; the row `padding` takes no gradient."""
    require_float(weight)
    require(len(weight.shape) == 2 and index.dtype == "int64", "takes a matrix and int64 places")
    require(padding is None or 0 <= padding < weight.shape[0], "pads with a row not there")
    return one(of((*index.shape, weight.shape[1]), "float32", weight))


def _recurrence(
    gates: int,
    x: TensorType,
    starts: tuple[TensorType, ...],
    parameters: tuple[TensorType, ...],
    layers: int,
    both_ways: bool,
    batch_first: bool,
) -> Outcome:
    """Outputs, then the last states.

    x: [batch, steps, inputs] if batch_first, else [steps, batch, inputs]. starts: [layers ·
    directions, batch, hidden]. parameters: four for each layer and direction.
    """
    require_float(x, *starts, *parameters)
    start = starts[0].shape
    require(len(x.shape) == len(start) == 3, "takes sequences of vectors")
    batch, steps = (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])
    directions = 2 if both_ways else 1
    require(len(parameters) == 4 * directions * layers, "has weights for other layers")
    hidden = start[2]
    fits = all(each.shape == (layers * directions, batch, hidden) for each in starts)
    require(fits, "has a start that does not fit")
    expected: list[Shape] = []
    for layer in range(layers):
        width = x.shape[2] if layer == 0 else hidden * directions
        wide = gates * hidden
        expected += [(wide, width), (wide, hidden), (wide,), (wide,)] * directions
    require([each.shape for each in parameters] == expected, "has weights that do not fit")
    lead = (batch, steps) if batch_first else (steps, batch)
    sources = (x, *starts, *parameters)
    output = of((*lead, hidden * directions), "float32", *sources)
    last = [of(start, "float32", *sources) for _ in starts]
    cells = layers * directions * steps
    product = sum(2 * prod(shape) for shape in expected if len(shape) == 2)
    work = batch * steps * product + cells * _STEP_WORK
    scratch = cells * (batch * hidden * 6 * gates * _FLOAT_BYTES + _STEP_BYTES)
    return Outcome((output, *last), work, scratch)


@operation("tensor", "tensor", "tensors", "int", "bool", "bool")
def gru(x: TensorType, start: TensorType, parameters: tuple[TensorType, ...], layers: int,
        both_ways: bool, batch_first: bool) -> Outcome:  # fmt: skip
    """Gated recurrent units, as `torch.nn.GRU` with biases."""
    return _recurrence(3, x, (start,), parameters, layers, both_ways, batch_first)


@operation("tensor", "tensor", "tensor", "tensors", "int", "bool", "bool")
def lstm(x: TensorType, start: TensorType, cells: TensorType, parameters: tuple[TensorType, ...],
         layers: int, both_ways: bool, batch_first: bool) -> Outcome:  # fmt: skip
    """Long short-term memory, as `torch.nn.LSTM` with biases."""
    return _recurrence(4, x, (start, cells), parameters, layers, both_ways, batch_first)


@operation("tensor", "tensor", "tensor", "tensor?", "scalar", "bool", "scalar?")
def attention(query: TensorType, key: TensorType, value: TensorType, mask: TensorType | None,
              dropout: float, causal: bool, _scale: float | None) -> Outcome:  # fmt: skip
    """Scaled dot product attention; query [..., places, width], key and value [..., others, width].

    mask: added if float32; where it does not hold, if bool, nothing is looked at.
    """
    require_float(query, key, value)
    shapes = (query.shape, key.shape, value.shape)
    require(all(len(shape) >= 3 for shape in shapes), "takes a batch of sequences")
    require(len({shape[:-2] for shape in shapes}) == 1, "has parts of different batches")
    (places, width), (others, key_width) = query.shape[-2:], key.shape[-2:]
    require(width == key_width and value.shape[-2] == others, "has parts that do not fit")
    require(0 <= dropout < 1, "has a probability outside 0 to 1")
    require(
        not causal or (mask is None and places == others), "is causal and masked, or not square"
    )
    scores = (*query.shape[:-2], places, others)
    if mask is not None:
        require(mask.dtype != "int64", "takes a mask of float32 or truth values")
        require(broadcast(scores, mask.shape) == scores, "has a mask that does not fit")
    result = of((*query.shape[:-1], value.shape[-1]), "float32", query, key, value, mask)
    work = prod(scores) * (2 * width + 2 * value.shape[-1] + _EXPONENTIALS)
    return Outcome((result,), work, 6 * prod(scores) * _FLOAT_BYTES)


def _class_loss(x: TensorType, target: TensorType, weight: TensorType | None) -> Outcome:
    require_float(x, weight)
    require(len(x.shape) >= 2 and not is_batch(x.shape[1]), "takes a score for each class")
    require(target.dtype == "int64", "takes int64 classes")
    require(target.shape == (x.shape[0], *x.shape[2:]), "has classes that do not fit its scores")
    require(weight is None or weight.shape == (x.shape[1],), "has weights that do not fit")
    return Outcome((of((), "float32", x),), x.number * _EXPONENTIALS, 2 * x.bytes)


@operation("tensor", "tensor", "tensor?", "int", "scalar")
def cross_entropy(x: TensorType, target: TensorType, weight: TensorType | None, _ignored: int,
                  smoothing: float) -> Outcome:  # fmt: skip
    """Mean cross-entropy of scores x [batch, classes, ...] against classes [batch, ...]."""
    require(0 <= smoothing < 1, "smooths by a number outside 0 to 1")
    return _class_loss(x, target, weight)


@operation("tensor", "tensor", "tensor?", "int")
def nll_loss(
    x: TensorType, target: TensorType, weight: TensorType | None, _ignored: int
) -> Outcome:
    """Mean negative log-likelihood of classes under log-probabilities x [batch, classes, ...]."""
    return _class_loss(x, target, weight)


@operation("tensor", "tensor", names=("mse_loss", "binary_cross_entropy"))
def _compared(x: TensorType, y: TensorType) -> Outcome:
    """Mean squared difference; mean cross-entropy of probabilities x against y, in 0 to 1 both."""
    require_float(x, y)
    require(x.shape == y.shape, "compares arrays of different shapes")
    return Outcome((of((), "float32", x, y),), x.number * _EXPONENTIALS, 2 * x.bytes)
