"""Rules of operations that arrange elements, choose among them, or make constant ones."""

from math import prod

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
)
from pnyx.learning.programs.sizes import Shape, is_batch


@operation("tensor", "sizes")
def reshape(x: TensorType, shape: Shape) -> Outcome:
    """The same elements in another shape."""
    require(prod(shape) == x.number, "changes the number of elements")
    return one(of(shape, x.dtype, x))


@operation("tensor", "ints")
def permute(x: TensorType, axes: Shape) -> Outcome:
    """Reorder the axes."""
    require(len(axes) == len(x.shape), "names not all axes")
    found = axes_of(axes, x.shape) if axes else ()
    return one(of(tuple(x.shape[axis] for axis in found), x.dtype, x))


@operation("tensor", "sizes")
def expand(x: TensorType, shape: Shape) -> Outcome:
    """Repeat along axes of size 1, and along new ones in front."""
    require(len(shape) >= len(x.shape), "has fewer axes than its argument")
    before = (1,) * (len(shape) - len(x.shape)) + x.shape
    require(all(a in (1, b) for a, b in zip(before, shape, strict=True)), "repeats another size")
    return one(of(shape, x.dtype, x))


@operation("tensor", "int", "int", "int", "int")
def slice(x: TensorType, axis: int, start: int, end: int, step: int) -> Outcome:  # noqa: A001  (torch's name)
    """Elements start, start + step, … before end, along an axis that is not the batch."""
    axis = axis_of(axis, x.shape)
    size = x.shape[axis]
    require(not is_batch(size), "takes a part of the batch")
    require(0 <= start < end <= size and step >= 1, "takes a part that is not there")
    taken = len(range(start, end, step))
    return one(of((*x.shape[:axis], taken, *x.shape[axis + 1 :]), x.dtype, x))


@operation("tensor", "int", "int")
def select(x: TensorType, axis: int, index: int) -> Outcome:
    """One place along an axis that is not the batch."""
    axis = axis_of(axis, x.shape)
    size = x.shape[axis]
    require(not is_batch(size), "takes a part of the batch")
    require(0 <= index < size, "takes a part that is not there")
    return one(of(x.shape[:axis] + x.shape[axis + 1 :], x.dtype, x))


@operation("tensors", "int")
def cat(parts: tuple[TensorType, ...], axis: int) -> Outcome:
    """Join along an axis."""
    first = parts[0]
    axis = axis_of(axis, first.shape)

    def others(part: TensorType) -> tuple[Shape, Dtype]:
        return (*part.shape[:axis], 1, *part.shape[axis + 1 :]), part.dtype

    alike = all(len(p.shape) == len(first.shape) and others(p) == others(first) for p in parts)
    require(alike, "joins arrays that do not fit together")
    joined = sum(part.shape[axis] for part in parts)
    return one(of((*first.shape[:axis], joined, *first.shape[axis + 1 :]), first.dtype, *parts))


@operation("tensor", "ints")
def flip(x: TensorType, axes: Shape) -> Outcome:
    """Reverse along axes."""
    axes_of(axes, x.shape)
    return one(of(x.shape, x.dtype, x))


@operation("tensor", "ints", "scalar")
def pad(x: TensorType, padding: Shape, _value: float) -> Outcome:
    """Add a number before and after: pairs from the last axis on."""
    require(len(padding) % 2 == 0 and len(padding) <= 2 * len(x.shape), "pads axes not there")
    require(all(each >= 0 for each in padding), "cuts instead of padding")
    require(x.dtype == "float32", "takes float32 only")
    shape = list(x.shape)
    for number in range(len(padding) // 2):
        shape[-1 - number] += padding[2 * number] + padding[2 * number + 1]
    return one(of(tuple(shape), x.dtype, x))


@operation("tensor", "int", "tensor")
def gather(x: TensorType, axis: int, index: TensorType) -> Outcome:
    """Elements of x at places given by an index of the same shape but for one axis."""
    axis = axis_of(axis, x.shape)
    fits = (
        index.dtype == "int64"
        and len(index.shape) == len(x.shape)
        and x.shape[:axis] == index.shape[:axis]
        and x.shape[axis + 1 :] == index.shape[axis + 1 :]
    )
    require(fits, "takes an int64 index that fits its argument")
    return one(of(index.shape, x.dtype, x))


@operation("tensor", "int", "tensor")
def index_select(x: TensorType, axis: int, index: TensorType) -> Outcome:
    """Slices of x at places given by a list."""
    axis = axis_of(axis, x.shape)
    require(index.dtype == "int64" and len(index.shape) == 1, "takes a list of int64")
    return one(of((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), x.dtype, x))


def _require_values(values: tuple[float, ...], dtype: Dtype) -> None:
    if dtype == "int64":
        require(all(map(is_integer, values)), "writes numbers that are no integers")
    if dtype == "bool":
        require(all(is_integer(each) and each in (0, 1) for each in values), "writes not 0 or 1")


@operation("sizes", "scalar", "dtype")
def full(shape: Shape, value: float, dtype: Dtype) -> Outcome:
    """One number everywhere."""
    _require_values((value,), dtype)
    return one(of(shape, dtype))


@operation("sizes", "elements", "dtype")
def constant(shape: Shape, elements: tuple[float, ...], dtype: Dtype) -> Outcome:
    """Numbers written in the program itself."""
    require(len(elements) == prod(shape), "lists another number of elements than its shape has")
    _require_values(elements, dtype)
    return one(of(shape, dtype))
