"""The operations that a program may use, and what is known of each without running it.

An operation is a *rule*: from the types of its arguments it gives those of its results, the work,
and the memory beside the results, or raises ValueError with the reason. Rules are pure integer
arithmetic over `sizes`. What computes is in `kernels`, one for each rule.

Operations are functional: none changes an argument. Names and meaning are those of torch's aten
library, with fewer options.
"""

from collections.abc import Callable
from math import prod
from typing import Literal, NamedTuple, TypeGuard, get_args

from pnyx.learning.programs.sizes import Shape

Dtype = Literal["float32", "int64", "bool"]
ITEM_BYTES = {"float32": 4, "int64": 8, "bool": 1}

Kind = Literal[
    "tensor", "tensor?", "tensors",  # numbers of values
    "scalar", "scalar?", "int", "int?", "bool", "dtype",
    "ints",  # axes, paddings and the like
    "sizes",  # at least 1 each, or a negative multiple of the batch
    "elements",
]  # fmt: skip
TENSOR_KINDS = ("tensor", "tensor?", "tensors")


class TensorType(NamedTuple):
    """What is known of a value: its shape (see `sizes`), and whether a gradient passes through."""

    shape: Shape
    dtype: Dtype
    gradient: bool = False

    @property
    def number(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its memory."""
        return self.number * ITEM_BYTES[self.dtype]


class Outcome(NamedTuple):
    """What a rule says: types of the results, operations on numbers, bytes beside the results."""

    results: tuple[TensorType, ...]
    work: int
    scratch: int = 0


Rule = Callable[..., Outcome]


class Entry(NamedTuple):
    """One operation of the table."""

    kinds: tuple[Kind, ...]
    rule: Rule


OPERATIONS: dict[str, Entry] = {}
RESULTS = {"gru": 2, "lstm": 3}  # all others have one


def operation(*kinds: Kind, names: tuple[str, ...] = ()) -> Callable[[Rule], Rule]:
    """Enter a rule into the table under its own name, or under several."""
    assert set(kinds) <= set(get_args(Kind))

    def enter(rule: Rule) -> Rule:
        for name in names or (rule.__name__,):
            assert name not in OPERATIONS
            OPERATIONS[name] = Entry(kinds, rule)
        return rule

    return enter


def require(condition: bool, reason: str) -> None:
    """Refuse an operation: `reason` completes a sentence that begins with its name."""
    if not condition:
        raise ValueError(reason)


def require_float(*types: TensorType | None) -> None:
    """Refuse arguments that are not float32."""
    require(all(each is None or each.dtype == "float32" for each in types), "takes float32 only")


def axis_of(axis: int, shape: Shape) -> int:
    """An axis counted from the front."""
    require(-len(shape) <= axis < len(shape), "names an axis that is not there")
    return axis % len(shape)


def axes_of(axes: Shape, shape: Shape) -> Shape:
    """Distinct axes, at least one, counted from the front."""
    found = tuple(axis_of(axis, shape) for axis in axes)
    require(bool(found) and len(set(found)) == len(found), "names no axis, or one twice")
    return found


def of(shape: Shape, dtype: Dtype, *sources: TensorType | None) -> TensorType:
    """A result; gradients pass from float32 sources to float32 results."""
    passes = dtype == "float32" and any(each is not None and each.gradient for each in sources)
    return TensorType(shape, dtype, passes)


def one(result: TensorType, *, work_each: int = 1, scratch: int = 0) -> Outcome:
    """A single result with the same work for each of its elements."""
    return Outcome((result,), result.number * work_each, scratch)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether an argument is an integer: True is none."""
    return type(value) is int
