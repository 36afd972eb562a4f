"""What a trace would drop without a word, and mistakes of the author's, are named."""

import pytest
import torch
from torch import nn

from pnyx.errors import TrainingError
from pnyx.learning.programs.export import export

EXAMPLE = (torch.randn(6, 4), torch.arange(6) % 3)
ENTROPY = nn.functional.cross_entropy


class Applied(nn.Module):
    """A linear layer, and a function of the module and of what the layer gives."""

    def __init__(self, function=lambda module, x: x) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, 3), function
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        return self.function(self, self.layer(x))


class Reversed(torch.autograd.Function):
    """What trains against a classifier: the gradient changes its sign."""

    @staticmethod
    def forward(context, x):
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        return -gradient


def hooked(module, x):
    x.register_hook(lambda gradient: gradient * 0)
    return x


def counted(module, x):
    module.calls.add_(1)
    return x * module.calls


ELSEWHERE = nn.Parameter(torch.ones(3))
DROPPED = {
    "a backward pass of its own": lambda module, x: Reversed.apply(x),
    "An intermediate result has a hook": hooked,
    "A parameter of shape \\[3\\] takes part": lambda module, x: x * ELSEWHERE,
    "Buffer calls changes from batch to batch": counted,
}


@pytest.mark.parametrize("reason", DROPPED)
def test_what_decides_about_gradients_beside_operations_is_refused(reason):
    module = Applied(DROPPED[reason])
    with pytest.raises(TrainingError, match=reason):
        export(module, ENTROPY, EXAMPLE)
    assert module.calls == 0


def test_hooks_of_parameters_and_submodules_are_refused():
    module = Applied()
    module.layer.weight.register_hook(lambda gradient: gradient * 0)
    with pytest.raises(TrainingError, match=r"Parameter layer\.weight has a hook"):
        export(module, ENTROPY, EXAMPLE)
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    module[1].register_full_backward_hook(lambda module, came, left: (came[0] * 0,))
    with pytest.raises(TrainingError, match="A submodule has a hook"):
        export(module, ENTROPY, EXAMPLE)


class Weighed(nn.Module):
    """A loss with a parameter, which would be trained nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, output, targets):
        return ENTROPY(output, targets) * self.weight.exp().sum()


MISTAKEN = {
    "The loss fails .*takes 1 positional argument": lambda output: output.sum(),
    "The loss gives a float": lambda output, targets: 3.0,
    "The loss gives a tuple": lambda output, targets: (ENTROPY(output, targets), 1),
    "The loss gives float32 of shape \\[6\\]": (
        lambda output, targets: ENTROPY(output, targets, reduction="none")
    ),
    "The loss depends on no parameter": lambda output, targets: torch.tensor(1.0),
    "of shape \\[1\\] takes part that is not one of the module's": Weighed(),
}


@pytest.mark.parametrize("reason", MISTAKEN)
def test_losses_that_are_none(reason):
    with pytest.raises(TrainingError, match=reason):
        export(Applied(), MISTAKEN[reason], EXAMPLE)


def test_modules_and_scores_that_do_not_fit_the_example():
    with pytest.raises(TrainingError, match=r"The module fails on the example \(RuntimeError"):
        export(nn.Linear(5, 3), ENTROPY, EXAMPLE)
    with pytest.raises(TrainingError, match="Target 2 is out of bounds"):
        export(nn.Linear(4, 2), ENTROPY, EXAMPLE)
    with pytest.raises(TrainingError, match="The score gives float32 of shape"):
        export(nn.Linear(4, 3), ENTROPY, EXAMPLE, score=lambda output, targets: output.mean())
    with pytest.raises(TrainingError, match="The score fails"):
        export(nn.Linear(4, 3), ENTROPY, EXAMPLE, score=lambda output, targets: output @ targets)


def test_a_rehearsal_leaves_no_trace():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before = {name: each.clone() for name, each in module.state_dict().items()}
    inputs = EXAMPLE[0].clone()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    export(nn.Sequential(nn.Identity(), module, nn.ReLU(inplace=True)), ENTROPY, EXAMPLE)
    assert torch.equal(torch.rand(3), wanted), "random numbers go on as if nothing had been"
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    assert all(each.grad is None for each in module.parameters())
    assert torch.equal(EXAMPLE[0], inputs)
