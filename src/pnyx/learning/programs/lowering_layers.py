"""Lowerings of reductions, layers and losses; see `lowering`."""

from collections.abc import Sequence
from typing import Any

import torch

from pnyx.learning.programs.builder import (
    Batch,
    Builder,
    Size,
    Unsupported,
    Value,
    as_float,
    aten,
    lower,
)

IGNORED = -100  # torch's class that no loss counts

_REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}  # as torch numbers them


def _axes(axes: int | Sequence[int] | None, x: Value) -> tuple[int, ...]:
    if axes is None or axes == []:
        return tuple(range(len(x.shape)))
    return (axes,) if isinstance(axes, int) else tuple(axes)


def _reduced(builder: Builder, name: str, x: Value, axes: Any, keep: bool) -> Value:
    if not x.shape:
        return as_float(builder, x)
    return builder.add(name, as_float(builder, x), _axes(axes, x), keep, dtype=torch.float32)


@lower(aten.sum.default, aten.sum.dim_IntList)
def _sum(builder: Builder, x: Value, axes: Any = None, keep: bool = False, **_type: Any) -> Value:
    total = _reduced(builder, "sum", x, axes, keep)
    if builder.result_dtype == torch.float32:
        return total
    return builder.add("cast", total, builder.result_dtype)


@lower(aten.mean.default, aten.mean.dim)
def _mean(builder: Builder, x: Value, axes: Any = None, keep: bool = False, **_type: Any) -> Value:
    return _reduced(builder, "mean", x, axes, keep)


@lower(aten.amax.default)
def _amax(builder: Builder, x: Value, axes: Any = None, keep: bool = False) -> Value:
    return _reduced(builder, "amax", x, axes, keep)


@lower(aten.amin.default)
def _amin(builder: Builder, x: Value, axes: Any = None, keep: bool = False) -> Value:
    return _reduced(builder, "amin", x, axes, keep)


@lower(aten.max.default)
def _max(builder: Builder, x: Value) -> Value:
    return _reduced(builder, "amax", x, None, False)


@lower(aten.min.default)
def _min(builder: Builder, x: Value) -> Value:
    return _reduced(builder, "amin", x, None, False)


@lower(aten.max.dim)
def _max_along(builder: Builder, x: Value, axis: int, keep: bool = False) -> tuple[Value, Value]:
    kept = list(x.shape)
    kept[axis] = 1
    index = builder.add("argmax", x, axis, True, shape=kept, dtype=torch.int64)
    value = builder.add("gather", x, axis, index, shape=kept, dtype=x.dtype)
    if keep:
        return value, index
    shape = [size for place, size in enumerate(x.shape) if place != axis % len(x.shape)]
    return (
        builder.add("reshape", value, shape, shape=shape, dtype=x.dtype),
        builder.add("reshape", index, shape, shape=shape, dtype=torch.int64),
    )


@lower(aten.var.correction)
def _var(builder: Builder, x: Value, axes: Any = None, *, correction: float | None = None,
         keepdim: bool = False) -> Value:  # fmt: skip
    degrees = 1 if correction is None else int(correction)
    return builder.add("var", x, _axes(axes, x), degrees, keepdim)


@lower(aten.std.correction)
def _std(builder: Builder, x: Value, axes: Any = None, **settings: Any) -> Value:
    return builder.add("sqrt", _var(builder, x, axes, **settings))


@lower(aten.linalg_vector_norm.default)
def _norm(builder: Builder, x: Value, order: float = 2, axes: Any = None,
          keep: bool = False, **_type: Any) -> Value:  # fmt: skip
    if order != 2:
        raise Unsupported("is another norm than the Euclidean one")
    return _reduced(builder, "norm", x, axes, keep)


@lower(aten.argmax.default)
def _argmax(builder: Builder, x: Value, axis: int | None = None, keep: bool = False) -> Value:
    if axis is None:
        raise Unsupported("looks for the largest of all; name an axis")
    return builder.add("argmax", x, axis, keep)


@lower(aten.softmax.int, aten._softmax.default)
def _softmax(builder: Builder, x: Value, axis: int, *_type: Any) -> Value:
    return builder.add("softmax", x, axis)


@lower(aten.log_softmax.int, aten._log_softmax.default)
def _log_softmax(builder: Builder, x: Value, axis: int, *_type: Any) -> Value:
    return builder.add("log_softmax", x, axis)


@lower(aten.cumsum.default)
def _cumsum(builder: Builder, x: Value, axis: int, **_type: Any) -> Value:
    return builder.add("cumsum", x, axis)


@lower(aten.one_hot.default)
def _one_hot(builder: Builder, x: Value, classes: int = -1) -> Value:
    if classes < 1:
        raise Unsupported("does not say how many classes there are")
    column: list[Size] = [*x.shape, 1]
    column_of = builder.add("reshape", x, column, shape=column, dtype=x.dtype)
    numbers = builder.constant(torch.arange(classes))
    equal = builder.add("eq.Tensor", column_of, numbers, dtype=torch.bool)
    return builder.add("cast", equal, torch.int64)


@lower(aten.linear.default)
def _linear(builder: Builder, x: Value, weight: Value, bias: Value | None = None) -> Value:
    return builder.add("linear", x, weight, bias)


def _repeated(setting: int | Sequence[int], rank: int) -> tuple[int, ...]:
    listed = (setting,) if isinstance(setting, int) else tuple(setting)
    return listed * rank if len(listed) == 1 else listed


def _padding(padding: Any, weight: Value, dilation: Sequence[int]) -> list[tuple[int, int]]:
    """How many zeros on both sides of each axis, where torch also takes a word."""
    rank = len(dilation)
    if padding == "valid":
        return [(0, 0)] * rank
    if padding != "same":
        return [(each, each) for each in _repeated(padding, rank)]
    added = []
    for size, step in zip(weight.shape[-rank:], dilation, strict=True):
        if isinstance(size, Batch):
            raise Unsupported("has a window of the size of the batch")
        total = step * (size - 1)
        added.append((total // 2, total - total // 2))
    return added


@lower(aten.conv1d.default, aten.conv2d.default, aten.conv1d.padding, aten.conv2d.padding)
def _conv(builder: Builder, x: Value, weight: Value, bias: Value | None = None, stride: Any = 1,
          padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Value:  # fmt: skip
    rank = len(weight.shape) - 2
    steps = _repeated(dilation, rank)
    around = _padding(padding, weight, steps)
    more = [behind - before for before, behind in around]
    if any(more):  # a window of even size: one zero more behind
        zeros = [each for behind in reversed(more) for each in (0, behind)]
        shape = [*x.shape[:2], *map(_longer, x.shape[2:], more)]
        x = builder.add("pad", x, zeros, 0.0, shape=shape)
    return builder.add(f"conv{rank}d", x, weight, bias, _repeated(stride, rank),
                       [before for before, _ in around], steps, groups)  # fmt: skip


def _longer(size: Size, more: int) -> Size:
    if isinstance(size, Batch):
        raise Unsupported("slides along the batch")
    return size + more


@lower(aten.convolution.default)
def _convolution(builder: Builder, x: Value, weight: Value, bias: Value | None, stride: Any,
                 padding: Any, dilation: Any, transposed: bool, _output: Any,
                 groups: int) -> Value:  # fmt: skip
    if transposed or len(weight.shape) not in (3, 4):
        raise Unsupported("is transposed, or has more than two dimensions")
    return _conv(builder, x, weight, bias, stride, padding, dilation, groups)


def _pool(builder: Builder, name: str, x: Value, kernel: Any, stride: Any, padding: Any) -> Value:
    rank = int(name[-2])
    window = _repeated(kernel, rank)
    return builder.add(name, x, window, _repeated(stride or window, rank),
                       _repeated(padding, rank))  # fmt: skip


def _max_pool(builder: Builder, x: Value, kernel: Any, stride: Any = (), padding: Any = 0,
              dilation: Any = 1, ceil: bool = False) -> Value:  # fmt: skip
    if ceil or set(_repeated(dilation, 1)) != {1}:
        raise Unsupported("rounds up, or has a dilation")
    return _pool(builder, f"max_pool{len(x.shape) - 2}d", x, kernel, stride, padding)


lower(aten.max_pool1d.default, aten.max_pool2d.default)(_max_pool)


@lower(aten.avg_pool1d.default, aten.avg_pool2d.default)
def _avg_pool(builder: Builder, x: Value, kernel: Any, stride: Any = (), padding: Any = 0,
              ceil: bool = False, with_padding: bool = True,
              divisor: int | None = None) -> Value:  # fmt: skip
    if ceil or divisor is not None or not (with_padding or set(_repeated(padding, 1)) == {0}):
        raise Unsupported("rounds up, or has a divisor of its own")
    return _pool(builder, f"avg_pool{len(x.shape) - 2}d", x, kernel, stride, padding)


@lower(aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default)
def _adaptive_avg_pool(builder: Builder, x: Value, sizes: Sequence[int]) -> Value:
    rank = len(x.shape) - 2
    window = []
    for size, wanted in zip(x.shape[2:], _repeated(sizes, rank), strict=True):
        if isinstance(size, Batch) or size % wanted:
            raise Unsupported("divides into parts of unequal size")
        window.append(size // wanted)
    return _pool(builder, f"avg_pool{rank}d", x, window, window, 0)


@lower(aten.layer_norm.default)
def _layer_norm(builder: Builder, x: Value, shape: Sequence[int], weight: Value | None = None,
                bias: Value | None = None, epsilon: float = 1e-5,
                *_fast: Any) -> Value:  # fmt: skip
    return builder.add("layer_norm", x, len(shape), weight, bias, epsilon)


@lower(aten.group_norm.default)
def _group_norm(builder: Builder, x: Value, groups: int, weight: Value | None = None,
                bias: Value | None = None, epsilon: float = 1e-5,
                *_fast: Any) -> Value:  # fmt: skip
    return builder.add("group_norm", x, groups, weight, bias, epsilon)


@lower(aten.instance_norm.default)
def _instance_norm(builder: Builder, x: Value, weight: Value | None, bias: Value | None,
                   mean: Any, _variance: Any, own: bool, _momentum: float, epsilon: float,
                   *_fast: Any) -> Value:  # fmt: skip
    if not own or mean is not None:
        raise Unsupported("normalises by statistics from elsewhere")
    return builder.add("group_norm", x, x.shape[1], weight, bias, epsilon)


@lower(aten._native_batch_norm_legit_functional.default)
def _batch_norm(builder: Builder, x: Value, weight: Value | None, bias: Value | None, _mean: Any,
                _variance: Any, training: bool, _momentum: float,
                epsilon: float) -> tuple[Value | None, ...]:  # fmt: skip
    if not training:
        raise Unsupported("normalises by statistics from elsewhere")
    return builder.add("batch_norm", x, weight, bias, epsilon), None, None, None, None


@lower(aten._native_batch_norm_legit.no_stats)
def _batch_norm_without(builder: Builder, x: Value, weight: Value | None, bias: Value | None,
                        training: bool, momentum: float,
                        epsilon: float) -> tuple[Value | None, ...]:  # fmt: skip
    return _batch_norm(builder, x, weight, bias, None, None, training, momentum, epsilon)


@lower(aten.native_dropout.default)
def _dropout(builder: Builder, x: Value, probability: float, _training: Any = True) -> Any:
    return builder.add("dropout", x, probability), None


@lower(aten.bernoulli.p)
def _bernoulli(builder: Builder, x: Value, probability: float, **_memory: Any) -> Value:
    """Ones with a probability, else zeros; where nothing is dropped, the probability.

    torch writes the dropping of whole channels with it.
    """
    if not 0 < probability <= 1:
        raise Unsupported("draws with a probability outside 0 to 1")
    ones = builder.add("full", x.shape, 1.0, torch.float32)
    kept = builder.add("dropout", ones, 1 - probability)
    return builder.add("mul.Scalar", kept, probability)


@lower(aten.embedding.default)
def _embedding(builder: Builder, weight: Value, index: Value, padding: int = -1,
               *_gradient: Any) -> Value:  # fmt: skip
    return builder.add("embedding", weight, index, None if padding < 0 else padding)


@lower(aten.gru.input, aten.lstm.input)
def _recurrent(builder: Builder, x: Value, start: Any, parameters: Sequence[Value], biases: bool,
               layers: int, dropped: float, _training: bool, both_ways: bool,
               batch_first: bool) -> tuple[Value, ...]:  # fmt: skip
    if dropped:
        raise Unsupported("drops out between layers; stack layers with Dropout between them")
    name, starts = ("gru", [start]) if isinstance(start, Value) else ("lstm", start)
    if parameters[0].shape[0] != {"gru": 3, "lstm": 4}[name] * starts[0].shape[2]:
        raise Unsupported("projects its states")
    if not biases:  # torch lists two weights for each layer and direction, and we two biases too
        parameters = [
            each
            for place in range(0, len(parameters), 2)
            for each in (*parameters[place : place + 2], *_no_biases(builder, parameters[place]))
        ]
    return builder.add_several(
        name, x, *starts, parameters, layers, both_ways, batch_first, others=starts[0].shape
    )


def _no_biases(builder: Builder, weight: Value) -> list[Value]:
    shape = weight.shape[:1]
    return [builder.add("full", shape, 0.0, torch.float32, shape=shape) for _ in range(2)]


@lower(aten.scaled_dot_product_attention.default)
def _attention(builder: Builder, query: Value, key: Value, value: Value, mask: Value | None = None,
               dropped: float = 0.0, causal: bool = False, *, scale: float | None = None,
               enable_gqa: bool = False) -> Value:  # fmt: skip
    if enable_gqa:
        raise Unsupported("shares keys between heads")
    return builder.add("attention", query, key, value, mask, dropped, causal, scale)


def _each_loss(builder: Builder, logarithms: Value, target: Value) -> Value:
    """Negative log-likelihood of each example, from log-probabilities [batch, classes, ...]."""
    column: list[Size] = [*target.shape[:1], 1, *target.shape[1:]]
    places = builder.add("reshape", target, column, shape=column, dtype=torch.int64)
    chosen = builder.add("gather", logarithms, 1, places, shape=column)
    flat = builder.add("reshape", chosen, target.shape, shape=target.shape)
    return builder.add("neg", flat, shape=target.shape)


def _class_loss(builder: Builder, logarithms: Value, target: Value, reduction: int) -> Value:
    """A loss that is no mean."""
    losses = _each_loss(builder, logarithms, target)
    return losses if reduction == 0 else builder.add("sum", losses, _axes(None, losses), False)


@lower(aten.cross_entropy_loss.default)
def _cross_entropy(builder: Builder, x: Value, target: Value, weight: Value | None = None,
                   reduction: int = 1, ignored: int = IGNORED,
                   smoothing: float = 0.0) -> Value:  # fmt: skip
    if target.dtype != torch.int64:
        raise Unsupported("compares with probabilities; it takes whole numbers")
    if _REDUCTIONS[reduction] == "mean":
        return builder.add("cross_entropy", x, target, weight, ignored, smoothing)
    if weight is not None or smoothing or ignored != IGNORED:
        raise Unsupported("has weights, or smooths, or ignores a class, without taking the mean")
    logarithms = builder.add("log_softmax", x, 1, shape=x.shape)
    return _class_loss(builder, logarithms, target, reduction)


@lower(aten.nll_loss_nd.default, aten.nll_loss.default)
def _nll_loss(builder: Builder, x: Value, target: Value, weight: Value | None = None,
              reduction: int = 1, ignored: int = IGNORED) -> Value:  # fmt: skip
    if _REDUCTIONS[reduction] == "mean":
        return builder.add("nll_loss", x, target, weight, ignored)
    if weight is not None or ignored != IGNORED:
        raise Unsupported("has weights, or ignores a class, without taking the mean")
    return _class_loss(builder, x, target, reduction)


@lower(aten.mse_loss.default)
def _mse_loss(builder: Builder, x: Value, y: Value, reduction: int = 1) -> Value:
    if _REDUCTIONS[reduction] == "mean" and x.shape == y.shape:
        return builder.add("mse_loss", x, y)
    wide = x.shape if len(x.shape) >= len(y.shape) else y.shape
    difference = builder.add("sub.Tensor", x, y, shape=wide)
    squares = builder.add("mul.Tensor", difference, difference, shape=wide)
    if _REDUCTIONS[reduction] == "none":
        return squares
    return builder.add(_REDUCTIONS[reduction], squares, _axes(None, squares), False)


@lower(aten.binary_cross_entropy.default)
def _binary_cross_entropy(builder: Builder, x: Value, y: Value, weight: Value | None = None,
                          reduction: int = 1) -> Value:  # fmt: skip
    if weight is not None or _REDUCTIONS[reduction] != "mean" or x.shape != y.shape:
        raise Unsupported("has weights, or does not take the mean; leave out the sigmoid and use "
                          "binary_cross_entropy_with_logits")  # fmt: skip
    return builder.add("binary_cross_entropy", x, y)
