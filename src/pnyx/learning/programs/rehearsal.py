"""An author's module, loss and score, run once on the example before they are traced.

A trace records operations. It does not record what else decides about gradients, and would drop it
without a word: backward passes written by hand, hooks, parameters of another module. It also words
a mistake of the author's in terms of the trace. So both are looked for here, where the module runs
as it always does, and named.

The run is in training mode. It leaves parameters, buffers and torch's random numbers as they were.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.func import functional_call
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from pnyx.errors import TrainingError

Measure = Callable[[Tensor, Tensor], Tensor]  # of output and targets

# What Python and torch raise where code of somebody else's does not fit its arguments.
MISTAKES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
_HOOK_OF_MODULE = "BackwardHookFunctionBackward"  # as torch names what it puts into the graph
_REASON_MAX = 300


class _WatchHooks(TorchFunctionMode):
    """Refuses hooks that are put on intermediate results."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.register_hook, Tensor.register_post_accumulate_grad_hook):
            raise TrainingError(_hooked("An intermediate result"))
        return func(*args, **(kwargs or {}))


def rehearse(
    module: nn.Module, loss: Measure, score: Measure, inputs: Tensor, targets: Tensor
) -> object:
    """Run all three on the example, and return the module's output, without its gradient.

    The module is in training mode. Raises TrainingError when one of them fails, when it does not
    give what it should, or when its gradients come from elsewhere than from its operations.
    """
    features = inputs.detach().clone()
    buffers = {
        name: buffer.clone() for name, buffer in module.named_buffers() if not is_lazy(buffer)
    }
    # Compiled parts run as they were written: to compile them would only take time.
    with torch.random.fork_rng(), _WatchHooks(), torch.compiler.set_stance("force_eager"):
        with _named("The module fails on the example"):
            output = functional_call(module, buffers, (features,))
        with _named("The loss fails on the output of the module and the targets"):
            lost = loss(output, targets)
        with _named("The score fails on the output of the module and the targets"):
            scored = score(output, targets)
    _check_loss(lost)
    _check_score(scored, len(targets))
    _check_parameters(module)
    _check_gradients(lost, (*module.parameters(), features))
    return output.detach() if isinstance(output, Tensor) else output


def first_line(error: BaseException) -> str:
    """What an error of torch says in its first line, which is the one for people."""
    return str(error).strip().partition("\n")[0][:_REASON_MAX].rstrip(".")


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except TrainingError:
        raise
    except MISTAKES as error:
        raise TrainingError(
            f"{what} ({type(error).__name__}: {first_line(error)}): correct it, or the example."
        ) from error


def _check_loss(lost: object) -> None:
    if not isinstance(lost, Tensor):
        raise TrainingError(
            f"The loss gives {_kind(lost)}: let it give one number as a tensor, such as the mean "
            "over the batch."
        )
    if lost.dim() or lost.dtype != torch.float32:
        raise TrainingError(
            f"The loss gives {_kind(lost)}: let it give one float32 number, such as the mean over "
            "the batch."
        )
    if not lost.requires_grad:
        raise TrainingError("The loss depends on no parameter, so there is nothing to train.")


def _check_score(scored: object, examples: int) -> None:
    if not isinstance(scored, Tensor) or scored.shape != (examples,):
        raise TrainingError(
            f"The score gives {_kind(scored)}: let it give a number from 0 to 1 for each of the "
            f"{examples} examples, [batch]."
        )


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {list(value.shape)}".removeprefix("torch.")
    return f"a {type(value).__name__}"


def _check_parameters(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise TrainingError(_hooked(f"Parameter {name}"))


def _hooked(what: str) -> str:
    return f"{what} has a hook on its gradient, which cannot be part of a program: remove it."


def _check_gradients(lost: Tensor, own: Iterable[Tensor]) -> None:
    """Refuse a graph whose gradients are not those of its operations, or go elsewhere too."""
    known = {id(each) for each in own}
    waiting: list[Any] = [lost.grad_fn]
    seen = {lost.grad_fn}
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if isinstance(node, BackwardCFunction):
            raise TrainingError(_written_by_hand(type(node).__name__))
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in known:
            raise TrainingError(
                f"A parameter of shape {list(leaf.shape)} takes part that is not one of the "
                "module's: assign it to an attribute of the module, or detach() it."
            )
        for source, _ in node.next_functions:
            if source not in seen:
                seen.add(source)
                waiting.append(source)


def _written_by_hand(name: str) -> str:
    if name == _HOOK_OF_MODULE:
        return _hooked("A submodule")
    return (
        f"{name.removesuffix('Backward')} has a backward pass of its own, which cannot be part of "
        "a program: write it with operations alone."
    )
