"""What computes, for each operation of the table: the only module of programs that needs torch.

A kernel is made once for each operation of a program. It takes the arguments that are no values,
and returns a function of tensors. It may assume that the audit passed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pnyx.errors import TrainingError
from pnyx.learning.programs.sizes import BATCH, Shape, is_batch

Function = Callable[..., Any]
DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


class Mode:
    """How a program is being run, seen by the kernels that depend on it.

    training: drop out, and normalise by the batch. measuring: normalise by the batch, and add up
    what later evaluations normalise by. measured: that, by kernel. batch: examples in this batch.
    """

    def __init__(self, seed: int) -> None:
        self.training = False
        self.measuring = False
        self.measured: dict[object, list[Tensor]] = {}
        self.batch = 0
        self.generator = torch.Generator().manual_seed(seed)


Kernel = Callable[..., Function]  # of the mode and the constant arguments
KERNELS: dict[str, Kernel] = {}


def _plain(**functions: Function) -> None:
    """Operations without constant arguments, whose function is torch's own."""
    for name, function in functions.items():
        KERNELS[name.replace("__", ".")] = lambda _mode, function=function: function


_plain(
    neg=torch.neg,
    abs=torch.abs,
    exp=torch.exp,
    log=torch.log,
    log1p=torch.log1p,
    sqrt=torch.sqrt,
    rsqrt=torch.rsqrt,
    reciprocal=torch.reciprocal,
    sin=torch.sin,
    cos=torch.cos,
    tanh=torch.tanh,
    sigmoid=torch.sigmoid,
    relu=torch.relu,
    silu=functional.silu,
    softplus=functional.softplus,
    erf=torch.erf,
    add__Tensor=torch.add,
    sub__Tensor=torch.sub,
    mul__Tensor=torch.mul,
    div__Tensor=torch.div,
    pow__Tensor=torch.pow,
    maximum=torch.maximum,
    minimum=torch.minimum,
    eq__Tensor=torch.eq,
    ne__Tensor=torch.ne,
    lt__Tensor=torch.lt,
    le__Tensor=torch.le,
    gt__Tensor=torch.gt,
    ge__Tensor=torch.ge,
    logical_and=torch.logical_and,
    logical_or=torch.logical_or,
    logical_not=torch.logical_not,
    where=torch.where,
    detach=Tensor.detach,
    linear=functional.linear,
    matmul=torch.matmul,
    mse_loss=functional.mse_loss,
    binary_cross_entropy=functional.binary_cross_entropy,
)


def _with_constants(**functions: Function) -> None:
    """Operations whose tensors come first: a function of tensors, then constants."""
    for name, function in functions.items():

        def kernel(_mode: Mode, *constants: Any, function: Function = function) -> Function:
            return lambda *tensors: function(*tensors, *constants)

        KERNELS[name.replace("__", ".")] = kernel


_with_constants(
    elu=functional.elu,
    leaky_relu=functional.leaky_relu,
    add__Scalar=torch.add,
    mul__Scalar=torch.mul,
    div__Scalar=torch.div,
    pow__Scalar=torch.pow,
    eq__Scalar=torch.eq,
    ne__Scalar=torch.ne,
    lt__Scalar=torch.lt,
    le__Scalar=torch.le,
    gt__Scalar=torch.gt,
    ge__Scalar=torch.ge,
    masked_fill=torch.masked_fill,
    clamp=torch.clamp,
    sum=torch.sum,
    mean=torch.mean,
    amax=torch.amax,
    amin=torch.amin,
    argmax=torch.argmax,
    softmax=torch.softmax,
    log_softmax=torch.log_softmax,
    cumsum=torch.cumsum,
    permute=torch.permute,
    flip=torch.flip,
    select=torch.select,
    conv1d=functional.conv1d,
    conv2d=functional.conv2d,
    max_pool1d=torch.max_pool1d,
    max_pool2d=torch.max_pool2d,
    avg_pool1d=torch.avg_pool1d,
    avg_pool2d=functional.avg_pool2d,
)


def _kernel(function: Kernel) -> Kernel:
    """Enter a kernel into the table under its own name."""
    KERNELS[function.__name__[1:]] = function
    return function


@_kernel
def _gelu(_mode: Mode, tanh: bool) -> Function:
    approximate = "tanh" if tanh else "none"
    return lambda x: functional.gelu(x, approximate=approximate)


@_kernel
def _norm(_mode: Mode, axes: Shape, keep: bool) -> Function:
    return lambda x: torch.linalg.vector_norm(x, 2, axes, keep)


@_kernel
def _cast(_mode: Mode, dtype: str) -> Function:
    target = DTYPES[dtype]
    return lambda x: x.to(target)


@_kernel
def _var(_mode: Mode, axes: Shape, correction: int, keep: bool) -> Function:
    return lambda x: torch.var(x, axes, correction=correction, keepdim=keep)


def _sized(mode: Mode, shape: Shape) -> Function:
    """A function that gives the shape at the size of the present batch."""
    pairs = [divmod(size, BATCH) for size in shape]
    return lambda: [times * mode.batch + constant for times, constant in pairs]


@_kernel
def _reshape(mode: Mode, shape: Shape) -> Function:
    if sum(map(is_batch, shape)) > 1:
        sized = _sized(mode, shape)
        return lambda x: x.reshape(sized())
    known = [-1 if is_batch(size) else size for size in shape]
    return lambda x: x.reshape(known)


@_kernel
def _expand(mode: Mode, shape: Shape) -> Function:
    sized = _sized(mode, shape)
    return lambda x: x.expand(sized())


@_kernel
def _slice(_mode: Mode, axis: int, start: int, end: int, step: int) -> Function:
    if step == 1:
        length = end - start
        return lambda x: x.narrow(axis, start, length)
    return lambda x: torch.ops.aten.slice(x, axis, start, end, step)


@_kernel
def _cat(_mode: Mode, axis: int) -> Function:
    return lambda *parts: torch.cat(parts, axis)


@_kernel
def _pad(_mode: Mode, padding: Shape, value: float) -> Function:
    return lambda x: functional.pad(x, padding, value=value)


@_kernel
def _gather(_mode: Mode, axis: int) -> Function:
    return lambda x, index: torch.gather(x, axis, _within(index, x.shape[axis]))


@_kernel
def _index_select(_mode: Mode, axis: int) -> Function:
    return lambda x, index: torch.index_select(x, axis, _within(index, x.shape[axis]))


@_kernel
def _full(mode: Mode, shape: Shape, value: float, dtype: str) -> Function:
    sized, target = _sized(mode, shape), DTYPES[dtype]
    if any(map(is_batch, shape)):
        return lambda: torch.full(sized(), value, dtype=target)
    fixed = torch.full(sized(), value, dtype=target)
    return lambda: fixed


@_kernel
def _constant(_mode: Mode, shape: Shape, elements: tuple[float, ...], dtype: str) -> Function:
    fixed = torch.tensor(elements, dtype=DTYPES[dtype]).reshape(shape)
    return lambda: fixed


@_kernel
def _layer_norm(_mode: Mode, axes: int, epsilon: float) -> Function:
    return lambda x, weight, bias: torch.layer_norm(x, x.shape[-axes:], weight, bias, epsilon)


@_kernel
def _group_norm(_mode: Mode, groups: int, epsilon: float) -> Function:
    return lambda x, weight, bias: functional.group_norm(x, groups, weight, bias, epsilon)


@_kernel
def _batch_norm(mode: Mode, epsilon: float) -> Function:
    """Normalise by the batch; in evaluations by what `measuring` saw of the owner's examples."""
    key = object()

    def run(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if mode.training or mode.measuring:
            if mode.measuring:
                _measure(mode, key, x)
            return torch.batch_norm(x, weight, bias, None, None, True, 0.0, epsilon, False)
        count, mean, variance = mode.measured[key]
        return torch.batch_norm(
            x, weight, bias, mean / count, variance / count, False, 0.0, epsilon, False
        )

    return run


def _measure(mode: Mode, key: object, x: Tensor) -> None:
    """Add the number of examples of a batch, and with that weight its means and variances."""
    variance, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
    seen = [torch.full_like(mean, mode.batch), mode.batch * mean, mode.batch * variance]
    before = mode.measured.get(key)
    mode.measured[key] = seen if before is None else list(map(torch.add, before, seen))


@_kernel
def _dropout(mode: Mode, probability: float) -> Function:
    if not probability:
        return lambda x: x
    kept = 1.0 - probability

    def run(x: Tensor) -> Tensor:
        if not mode.training:
            return x
        noise = torch.empty_like(x).bernoulli_(kept, generator=mode.generator)
        return x * noise.div_(kept)

    return run


@_kernel
def _embedding(_mode: Mode, padding: int | None) -> Function:
    row = -1 if padding is None else padding
    return lambda weight, index: torch.embedding(weight, _within(index, weight.shape[0]), row)


def _within(index: Tensor, size: int) -> Tensor:
    """An index, unless it points beyond; data decides about it, so no audit can."""
    low, high = torch.aminmax(index)
    if low < 0 or high >= size:
        raise TrainingError(
            f"The data holds a number outside 0 to {size - 1} where the program looks up a row: "
            "check the columns that the study asks for."
        )
    return index


@_kernel
def _gru(_mode: Mode, layers: int, both_ways: bool, batch_first: bool) -> Function:
    def run(x: Tensor, start: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        return torch.gru(x, start, parameters, True, layers, 0.0, True, both_ways, batch_first)

    return run


@_kernel
def _lstm(_mode: Mode, layers: int, both_ways: bool, batch_first: bool) -> Function:
    def run(x: Tensor, start: Tensor, cells: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return torch.lstm(
            x, (start, cells), parameters, True, layers, 0.0, True, both_ways, batch_first
        )

    return run


@_kernel
def _attention(mode: Mode, dropped: float, causal: bool, scale: float | None) -> Function:
    drop = _dropout(mode, dropped)

    def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        if not (mode.training and dropped):
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=causal, scale=scale
            )
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = (query * factor) @ key.transpose(-2, -1)
        if causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if mask is not None:
            hidden = mask.dtype == torch.bool
            scores = scores.masked_fill(~mask, -torch.inf) if hidden else scores + mask
        weights: Tensor = drop(torch.softmax(scores, -1))
        return weights @ value

    return run


@_kernel
def _cross_entropy(_mode: Mode, ignored: int, smoothing: float) -> Function:
    if (ignored, smoothing) == (-100, 0.0):
        return functional.cross_entropy
    return lambda x, target, weight: functional.cross_entropy(
        x, target, weight, ignore_index=ignored, label_smoothing=smoothing
    )


@_kernel
def _nll_loss(_mode: Mode, ignored: int) -> Function:
    return lambda x, target, weight: functional.nll_loss(x, target, weight, ignore_index=ignored)
