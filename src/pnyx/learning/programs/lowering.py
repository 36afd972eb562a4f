"""From torch's operations to those of a program; on the author's side only.

A lowering takes a `Builder` and the arguments of the operation, with values as `Value`, and returns
the `Value` of its result, or several. What changes nothing but memory (`clone`, `alias`)
disappears; views become `reshape` or `permute`; splits become slices. Layers are in
`lowering_layers`.

Everything is written for exported graphs that were made functional, with the shape of each result
known, where sizes are integers or multiples of the batch.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from pnyx.learning.programs.builder import (
    LOWERINGS,
    Batch,
    Builder,
    Size,
    Unsupported,
    Value,
    as_float,
    aten,
    lower,
)


def _direct(name: str, *overloads: Any, also: tuple[Any, ...] = ()) -> None:
    """Operations whose arguments are those of ours; `also` are added at the end."""
    for overload in overloads:
        LOWERINGS[overload] = lambda builder, *arguments: builder.add(name, *arguments, *also)


for _name in ("neg", "abs", "exp", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "sin", "cos",
              "tanh", "sigmoid", "relu", "silu", "erf", "logical_not", "detach", "matmul",
              "maximum", "minimum", "logical_and", "logical_or"):  # fmt: skip
    _direct(_name, getattr(aten, _name).default)
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _direct(f"{_name}.Tensor", getattr(aten, _name).Tensor)
    _direct(f"{_name}.Scalar", getattr(aten, _name).Scalar)
_direct("matmul", aten.bmm.default, aten.mm.default)
_direct("logical_not", aten.bitwise_not.default)
_direct("logical_and", aten.bitwise_and.Tensor)
_direct("logical_or", aten.bitwise_or.Tensor)
_direct("pow.Scalar", aten.pow.Tensor_Scalar)
_direct("pow.Tensor", aten.pow.Tensor_Tensor)
_direct("where", aten.where.self)
_direct("masked_fill", aten.masked_fill.Scalar)


@lower(
    aten.clone.default, aten.alias.default, aten.contiguous.default, aten.lift_fresh_copy.default
)
def _same(_builder: Builder, x: Value, **_memory: Any) -> Value:
    return x


@lower(aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.unsqueeze.default,
        aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default, aten.unflatten.int,
        aten.flatten.using_ints)  # fmt: skip
def _reshape(builder: Builder, x: Value, *_sizes: Any) -> Value:
    if builder.result_shape == x.shape:
        return x
    return builder.add("reshape", x, builder.result_shape)


@lower(aten.transpose.int)
def _transpose(builder: Builder, x: Value, first: int, second: int) -> Value:
    axes = list(range(len(x.shape)))
    axes[first], axes[second] = axes[second], axes[first]
    return builder.add("permute", x, axes)


@lower(aten.t.default)
def _matrix_transpose(builder: Builder, x: Value) -> Value:
    return builder.add("permute", x, range(len(x.shape))[::-1])


@lower(aten.permute.default)
def _permute(builder: Builder, x: Value, axes: Sequence[int]) -> Value:
    return builder.add("permute", x, [axis % len(x.shape) for axis in axes])


@lower(aten.expand.default)
def _expand(builder: Builder, x: Value, _sizes: Any) -> Value:
    if builder.result_shape == x.shape:
        return x
    return builder.add("expand", x, builder.result_shape)


@lower(aten.slice.Tensor)
def _slice(builder: Builder, x: Value, axis: int = 0, start: int | None = None,
           end: int | None = None, step: int = 1) -> Value:  # fmt: skip
    if builder.result_shape == x.shape and step == 1:
        return x
    size = x.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("takes a part of the batch")
    first, last, _ = slice(start, end).indices(size)
    return builder.add("slice", x, axis, first, last, step)


@lower(aten.select.int)
def _select(builder: Builder, x: Value, axis: int, index: int) -> Value:
    size = x.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("takes a part of the batch")
    return builder.add("select", x, axis, index % size)


@lower(aten.split_with_sizes.default, aten.split.sizes)
def _split_with_sizes(builder: Builder, x: Value, sizes: Sequence[int], axis: int = 0) -> Any:
    parts, start = [], 0
    for size in sizes:
        shape = list(x.shape)
        shape[axis] = size
        parts.append(builder.add("slice", x, axis, start, start + size, 1, shape=shape,
                                 dtype=x.dtype))  # fmt: skip
        start += size
    return parts


@lower(aten.split.Tensor)
def _split(builder: Builder, x: Value, size: int, axis: int = 0) -> Any:
    whole = x.shape[axis]
    if not isinstance(whole, int):
        raise Unsupported("splits the batch")
    sizes = [min(size, whole - start) for start in range(0, whole, size)]
    return _split_with_sizes(builder, x, sizes, axis)


@lower(aten.slice_scatter.default)
def _slice_scatter(builder: Builder, x: Value, part: Value, axis: int = 0, start: int | None = None,
                   end: int | None = None, step: int = 1) -> Value:  # fmt: skip
    """A copy of x with a slice replaced: what stands before, the part, what stands behind."""
    size = x.shape[axis]
    if part.shape == x.shape:
        return part
    if not isinstance(size, int) or step != 1:
        raise Unsupported("replaces a part of the batch, or not one stretch of numbers")
    first, last, _ = slice(start, end).indices(size)
    ends = [(0, first), (last, size)]
    before, behind = (
        [builder.add("slice", x, axis, *each, 1, shape=_resized(x, axis, each[1] - each[0]))]
        if each[0] < each[1]
        else []
        for each in ends
    )
    return builder.add("cat", [*before, part, *behind], axis)


@lower(aten.select_scatter.default)
def _select_scatter(builder: Builder, x: Value, part: Value, axis: int, index: int) -> Value:
    """A copy of x with one place along an axis replaced."""
    size = x.shape[axis]
    if not isinstance(size, int):
        raise Unsupported("replaces a part of the batch")
    shape = _resized(x, axis, 1)
    wide = builder.add("reshape", part, shape, shape=shape)
    return _slice_scatter(builder, x, wide, axis, index % size, index % size + 1)


def _resized(x: Value, axis: int, size: int) -> list[Size]:
    shape = list(x.shape)
    shape[axis] = size
    return shape


@lower(aten.copy.default)
def _copy(builder: Builder, _old: Value, new: Value, *_blocking: Any) -> Value:
    if new.dtype != builder.result_dtype:
        new = builder.add("cast", new, builder.result_dtype, shape=new.shape)
    return _expand(builder, new, None)


@lower(aten.repeat.default)
def _repeat(builder: Builder, x: Value, times: Sequence[Size]) -> Value:
    """x several times along each axis: an axis of its own for that, which is then merged."""
    shape: list[Size] = [*[1] * (len(times) - len(x.shape)), *x.shape]
    if any(
        isinstance(size, Batch) and count != 1 for size, count in zip(shape, times, strict=True)
    ):
        raise Unsupported("repeats the batch")
    apart: list[Size] = [each for size in shape for each in (1, size)]
    wide = [each for size, count in zip(shape, times, strict=True) for each in (count, size)]
    x = builder.add("reshape", x, apart, shape=apart)
    x = builder.add("expand", x, wide, shape=wide)
    return builder.add("reshape", x, builder.result_shape)


@lower(aten.cat.default)
def _cat(builder: Builder, parts: Sequence[Value], axis: int = 0) -> Value:
    return builder.add("cat", list(parts), axis)


@lower(aten.stack.default)
def _stack(builder: Builder, parts: Sequence[Value], axis: int = 0) -> Value:
    axis %= len(builder.result_shape)
    shape = [*builder.result_shape[:axis], 1, *builder.result_shape[axis + 1 :]]
    return builder.add("cat", [builder.add("reshape", part, shape) for part in parts], axis)


@lower(aten.flip.default)
def _flip(builder: Builder, x: Value, axes: Sequence[int]) -> Value:
    return builder.add("flip", x, axes)


@lower(aten.constant_pad_nd.default)
def _pad(builder: Builder, x: Value, padding: Sequence[int], value: float = 0.0) -> Value:
    return builder.add("pad", x, padding, value)


@lower(aten.gather.default)
def _gather(builder: Builder, x: Value, axis: int, index: Value) -> Value:
    return builder.add("gather", x, axis, index)


@lower(aten.index_select.default)
def _index_select(builder: Builder, x: Value, axis: int, index: Value) -> Value:
    return builder.add("index_select", x, axis, index)


@lower(aten.index.Tensor)
def _index(builder: Builder, x: Value, indices: Sequence[Value | None]) -> Value:
    present = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(present) != 1 or len(present[0][1].shape) != 1 or present[0][1].dtype != torch.int64:
        raise Unsupported("indexes by more than one list of whole numbers")
    axis, index = present[0]
    return builder.add("index_select", x, axis, index)


@lower(aten._to_copy.default)
def _to_copy(builder: Builder, x: Value, **_memory: Any) -> Value:
    return x if builder.result_dtype == x.dtype else builder.add("cast", x, builder.result_dtype)


@lower(aten.full.default, aten.full_like.default)
def _full(builder: Builder, _like: Any, value: float, **_memory: Any) -> Value:
    integral = builder.result_dtype != torch.float32
    return builder.add("full", builder.result_shape, int(value) if integral else float(value),
                       builder.result_dtype)  # fmt: skip


@lower(aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default,
       aten.empty.memory_format, aten.empty_permuted.default)  # fmt: skip
def _zeros(builder: Builder, *_like: Any, **_memory: Any) -> Value:
    return _full(builder, None, 0)


@lower(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def _ones(builder: Builder, *_like: Any, **_memory: Any) -> Value:
    return _full(builder, None, 1)


@lower(aten.add.Tensor, aten.add.Scalar)
def _add(builder: Builder, x: Value, y: Value | float, *, alpha: float = 1) -> Value:
    if not isinstance(y, Value):
        return builder.add("add.Scalar", x, y * alpha)
    if alpha != 1:
        y = builder.add("mul.Scalar", y, alpha, shape=y.shape)
    return builder.add("add.Tensor", x, y)


@lower(aten.sub.Tensor, aten.sub.Scalar)
def _sub(builder: Builder, x: Value | float, y: Value | float, *, alpha: float = 1) -> Value:
    if not isinstance(x, Value):
        if not isinstance(y, Value) or alpha != 1:
            raise Unsupported("subtracts from a number")
        return _rsub(builder, y, x)
    if isinstance(y, Value) and alpha == 1:
        return builder.add("sub.Tensor", x, y)
    return _add(builder, x, y, alpha=-alpha)


@lower(aten.rsub.Scalar)
def _rsub(builder: Builder, x: Value, y: float) -> Value:
    return builder.add("add.Scalar", builder.add("mul.Scalar", x, -1), y)


@lower(aten.mul.Tensor, aten.mul.Scalar)
def _mul(builder: Builder, x: Value, y: Value | float) -> Value:
    if torch.bool in (x.dtype, getattr(y, "dtype", None)):
        x = builder.add("cast", x, builder.result_dtype, shape=x.shape)
        if isinstance(y, Value):
            y = builder.add("cast", y, builder.result_dtype, shape=y.shape)
    return builder.add("mul.Tensor" if isinstance(y, Value) else "mul.Scalar", x, y)


@lower(aten.div.Tensor, aten.div.Scalar)
def _div(builder: Builder, x: Value, y: Value | float) -> Value:
    x = as_float(builder, x)
    if isinstance(y, Value):
        return builder.add("div.Tensor", x, as_float(builder, y))
    return builder.add("div.Scalar", x, y)


@lower(aten.addmm.default, aten.baddbmm.default)
def _addmm(builder: Builder, bias: Value, x: Value, y: Value, *, beta: float = 1,
           alpha: float = 1) -> Value:  # fmt: skip
    if (beta, alpha) != (1, 1):
        raise Unsupported("scales what it adds")
    return builder.add("add.Tensor", builder.add("matmul", x, y), bias)


@lower(aten.exp2.default)
def _exp2(builder: Builder, x: Value) -> Value:
    return _power_of(builder, 2.0, x)


@lower(aten.log2.default)
def _log2(builder: Builder, x: Value) -> Value:
    return builder.add("div.Scalar", builder.add("log", as_float(builder, x)), math.log(2.0))


@lower(aten.cosh.default)
def _cosh(builder: Builder, x: Value) -> Value:
    powers = builder.add("exp", x), builder.add("exp", builder.add("neg", x))
    return builder.add("mul.Scalar", builder.add("add.Tensor", *powers), 0.5)


@lower(aten.sign.default)
def _sign(builder: Builder, x: Value) -> Value:
    above = builder.add("gt.Scalar", x, 0, dtype=torch.bool)
    below = builder.add("lt.Scalar", x, 0, dtype=torch.bool)
    parts = [builder.add("cast", each, x.dtype) for each in (above, below)]
    return builder.add("sub.Tensor", *parts)


@lower(aten.isnan.default)
def _isnan(builder: Builder, x: Value) -> Value:
    return builder.add("ne.Tensor", x, x)


@lower(aten.pow.Scalar)
def _power_of(builder: Builder, base: float, x: Value) -> Value:
    if base <= 0:
        raise Unsupported("takes powers of a number that is not positive")
    return builder.add("exp", builder.add("mul.Scalar", as_float(builder, x), math.log(base)))


@lower(aten.clamp.default)
def _clamp(
    builder: Builder, x: Value, low: float | None = None, high: float | None = None
) -> Value:
    return builder.add("clamp", x, low, high)


@lower(aten.clamp.Tensor)
def _clamp_by(
    builder: Builder, x: Value, low: Value | None = None, high: Value | None = None
) -> Value:
    if low is not None:
        x = builder.add("maximum", x, low)
    return x if high is None else builder.add("minimum", x, high)


@lower(aten.clamp_min.default)
def _clamp_min(builder: Builder, x: Value, low: float) -> Value:
    return builder.add("clamp", x, low, None)


@lower(aten.clamp_max.default)
def _clamp_max(builder: Builder, x: Value, high: float) -> Value:
    return builder.add("clamp", x, None, high)


@lower(aten.hardtanh.default)
def _hardtanh(builder: Builder, x: Value, low: float = -1, high: float = 1) -> Value:
    return builder.add("clamp", x, low, high)


@lower(aten.gelu.default)
def _gelu(builder: Builder, x: Value, *, approximate: str = "none") -> Value:
    return builder.add("gelu", x, approximate == "tanh")


@lower(aten.elu.default)
def _elu(builder: Builder, x: Value, alpha: float = 1, scale: float = 1,
         input_scale: float = 1) -> Value:  # fmt: skip
    if input_scale != 1:
        raise Unsupported("scales what goes into an exponential unit")
    unit = builder.add("elu", x, alpha)
    return unit if scale == 1 else builder.add("mul.Scalar", unit, scale)


@lower(aten.leaky_relu.default)
def _leaky_relu(builder: Builder, x: Value, slope: float = 0.01) -> Value:
    return builder.add("leaky_relu", x, slope)


@lower(aten.softplus.default)
def _softplus(builder: Builder, x: Value, beta: float = 1, threshold: float = 20) -> Value:
    if (beta, threshold) != (1, 20):
        raise Unsupported("has a softplus with settings")
    return builder.add("softplus", x)
