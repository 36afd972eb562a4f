"""Rules of operations on single elements, and of reductions over axes."""

from typing import Any

from pnyx.learning.programs.operations import (
    Dtype,
    Outcome,
    TensorType,
    axes_of,
    axis_of,
    is_integer,
    of,
    one,
    operation,
    require,
    require_float,
)
from pnyx.learning.programs.sizes import Shape, broadcast

_ORDER: tuple[Dtype, ...] = ("bool", "int64", "float32")
_FUNCTION_WORK = 16  # an exponential or its like, counted in additions


def _promoted(*dtypes: Dtype) -> Dtype:
    return max(dtypes, key=_ORDER.index)


def _scalar_type(value: Any) -> Dtype:
    return "int64" if is_integer(value) else "float32"


@operation(
    "tensor",
    names=(
        "neg", "abs", "exp", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tanh",
        "sigmoid", "relu", "silu", "softplus", "erf",
    ),
)  # fmt: skip
def _unary(x: TensorType) -> Outcome:
    require_float(x)
    return one(of(x.shape, "float32", x), work_each=_FUNCTION_WORK)


@operation("tensor", "bool")
def gelu(x: TensorType, _tanh: bool) -> Outcome:
    """By the error function, or by the approximation with a hyperbolic tangent."""
    require_float(x)
    return one(of(x.shape, "float32", x), work_each=2 * _FUNCTION_WORK)


@operation("tensor", "scalar", names=("elu", "leaky_relu"))
def _unary_with_slope(x: TensorType, _slope: float) -> Outcome:
    require_float(x)
    return one(of(x.shape, "float32", x), work_each=_FUNCTION_WORK)


def _arithmetic(x: TensorType, y: TensorType) -> Outcome:
    dtype = _promoted(x.dtype, y.dtype)
    require(dtype != "bool", "takes numbers")
    return one(of(broadcast(x.shape, y.shape), dtype, x, y))


@operation("tensor", "tensor", names=("add.Tensor", "sub.Tensor", "mul.Tensor"))
def _binary(x: TensorType, y: TensorType) -> Outcome:
    require("bool" not in (x.dtype, y.dtype), "takes numbers")
    return _arithmetic(x, y)


@operation("tensor", "scalar", names=("add.Scalar", "mul.Scalar"))
def _binary_scalar(x: TensorType, y: float) -> Outcome:
    require(x.dtype != "bool", "takes numbers")
    return _arithmetic(x, TensorType((), _scalar_type(y)))


@operation("tensor", "tensor", names=("div.Tensor", "pow.Tensor", "maximum", "minimum"))
def _float_binary(x: TensorType, y: TensorType) -> Outcome:
    require_float(x, y)
    result = of(broadcast(x.shape, y.shape), "float32", x, y)
    return one(result, work_each=_FUNCTION_WORK)


@operation("tensor", "scalar", names=("div.Scalar", "pow.Scalar"))
def _float_binary_scalar(x: TensorType, _y: float) -> Outcome:
    require_float(x)
    return one(of(x.shape, "float32", x), work_each=_FUNCTION_WORK)


@operation(
    "tensor",
    "tensor",
    names=("eq.Tensor", "ne.Tensor", "lt.Tensor", "le.Tensor", "gt.Tensor", "ge.Tensor"),
)
def _compared(x: TensorType, y: TensorType) -> Outcome:
    return one(of(broadcast(x.shape, y.shape), "bool"))


@operation(
    "tensor",
    "scalar",
    names=("eq.Scalar", "ne.Scalar", "lt.Scalar", "le.Scalar", "gt.Scalar", "ge.Scalar"),
)
def _compared_scalar(x: TensorType, _y: float) -> Outcome:
    return one(of(x.shape, "bool"))


@operation("tensor", "tensor", names=("logical_and", "logical_or"))
def _logical(x: TensorType, y: TensorType) -> Outcome:
    require(x.dtype == y.dtype == "bool", "takes truth values")
    return one(of(broadcast(x.shape, y.shape), "bool"))


@operation("tensor")
def logical_not(x: TensorType) -> Outcome:
    """Negate truth values."""
    require(x.dtype == "bool", "takes truth values")
    return one(of(x.shape, "bool"))


@operation("tensor", "scalar?", "scalar?")
def clamp(x: TensorType, low: float | None, high: float | None) -> Outcome:
    """Limit to low … high, either of them optional."""
    require(low is not None or high is not None, "limits to nothing")
    require(x.dtype != "bool", "takes numbers")
    if x.dtype == "int64":
        require(
            all(limit is None or is_integer(limit) for limit in (low, high)),
            "limits integers to numbers that are none",
        )
    return one(of(x.shape, x.dtype, x))


@operation("tensor", "tensor", "tensor")
def where(condition: TensorType, x: TensorType, y: TensorType) -> Outcome:
    """Elements of x where the condition holds, else of y."""
    require(condition.dtype == "bool" and x.dtype == y.dtype, "takes a condition and two alike")
    return one(of(broadcast(condition.shape, x.shape, y.shape), x.dtype, x, y))


@operation("tensor", "tensor", "scalar")
def masked_fill(x: TensorType, mask: TensorType, _value: float) -> Outcome:
    """Replace elements by a number where the mask holds."""
    require(mask.dtype == "bool" and x.dtype == "float32", "takes float32 and a mask")
    return one(of(broadcast(x.shape, mask.shape), "float32", x))


@operation("tensor", "dtype")
def cast(x: TensorType, dtype: Dtype) -> Outcome:
    """Convert to another type of numbers."""
    return one(of(x.shape, dtype, x))


@operation("tensor")
def detach(x: TensorType) -> Outcome:
    """The same numbers, through which no gradient passes."""
    return one(TensorType(x.shape, x.dtype))


def _reduced(shape: Shape, axes: Shape, keep: bool) -> Shape:
    found = axes_of(axes, shape)
    if keep:
        return tuple(1 if axis in found else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in found)


@operation("tensor", "ints", "bool", names=("sum", "mean", "amax", "amin", "norm"))
def _reduction(x: TensorType, axes: Shape, keep: bool) -> Outcome:
    require_float(x)
    return Outcome((of(_reduced(x.shape, axes, keep), "float32", x),), x.number)


@operation("tensor", "ints", "int", "bool")
def var(x: TensorType, axes: Shape, correction: int, keep: bool) -> Outcome:
    """Variance: squared deviations over their number less the correction."""
    require_float(x)
    require(correction in (0, 1), "has a correction of 0 or 1")
    return Outcome((of(_reduced(x.shape, axes, keep), "float32", x),), 4 * x.number)


@operation("tensor", "int", "bool")
def argmax(x: TensorType, axis: int, keep: bool) -> Outcome:
    """Where the largest element is."""
    require_float(x)
    return Outcome((of(_reduced(x.shape, (axis,), keep), "int64"),), x.number)


@operation("tensor", "int", names=("softmax", "log_softmax", "cumsum"))
def _along(x: TensorType, axis: int) -> Outcome:
    require_float(x)
    axis_of(axis, x.shape)
    return one(of(x.shape, "float32", x), work_each=2 * _FUNCTION_WORK)
