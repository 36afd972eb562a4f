"""Modules that an author might export, one of each kind; with loss, score and rows to train on."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pnyx.learning.programs.export import Exported, export

CLASSES = 5


class Case(NamedTuple):
    """A module with what `pnyx.export` asks for. rows: features of so many examples."""

    module: nn.Module
    rows: Callable[[int], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    score: Callable[[Tensor, Tensor], Tensor] | None = None

    def batch(self, examples: int) -> tuple[Tensor, Tensor]:
        """Features and targets."""
        targets = torch.arange(examples) % CLASSES
        return self.rows(examples), targets if self.score is None else targets.float()


class Images(nn.Module):
    """8 x 8 pixels: convolution, batch normalisation, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.out = nn.Linear(8 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.convolution(x.view(-1, 1, 8, 8))).relu_()
        return self.out(functional.max_pool2d(x, 2).flatten(1))


class Signals(nn.Module):
    """4 channels of 16 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, 8, 5, padding="same", dilation=2)
        self.norm = nn.GroupNorm(2, 8)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.norm(self.convolution(x.unflatten(1, (4, 16)))))
        return self.out(self.pool(x).squeeze(-1))


class Sequences(nn.Module):
    """Gated recurrent units over 4 steps of 4 features, both ways, in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.GRU(4, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(12 + 6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs, last = self.units(x.reshape(x.shape[0], 4, 4))
        return self.out(torch.cat([outputs[:, -1], last[0]], dim=1))


class Factors(nn.Module):
    """Matrix factorisation: the owner's own factors, and shared ones of 20 things."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = nn.Parameter(torch.randn(8))
        self.things = nn.Embedding(20, 8)
        self.bias = nn.Embedding(20, 1, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        thing = x[:, 0].long()
        return (self.things(thing) * self.owner).sum(-1) + self.bias(thing).squeeze(-1)


class Transformer(nn.Module):
    """Two layers of attention over 8 words, looking back only."""

    def __init__(self, dropped: float = 0.1) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.places = nn.Parameter(torch.randn(8, 16) * 0.1)
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, dropped, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        words = self.words(x.long()) + self.places
        mask = nn.Transformer.generate_square_subsequent_mask(8)
        return self.out(self.layers(words, mask=mask, is_causal=True).mean(1))


class OwnAttention(nn.Module):
    """Attention written out, with a first word of its own and a mask kept as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.first = nn.Parameter(torch.randn(1, 1, 8))
        self.mix = nn.Parameter(torch.randn(8, 8))
        self.register_buffer("mask", torch.ones(5, 5).tril())
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        words = torch.cat([self.first.expand(x.shape[0], -1, -1), x.view(-1, 4, 8)], 1)
        query, key, value = self.project(functional.layer_norm(words, (8,))).chunk(3, -1)
        scores = (query @ key.transpose(-1, -2)) / 8**0.5
        weights = scores.masked_fill(self.mask == 0, float("-inf")).softmax(-1)
        words = words + torch.einsum("btd,de->bte", self.drop(weights) @ value, self.mix)
        return self.out(words.max(dim=1).values)


class Attention(nn.Module):
    """torch's own attention layer, which asks for weights and so writes its products out."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, dropout=0.1)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        words = x.view(-1, 4, 8)
        return self.out(self.attention(words, words, words)[0].mean(1))


class Memory(nn.Module):
    """A long short-term memory, which reads its cells too."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.LSTM(8, 6, batch_first=True)
        self.out = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs, (_, cells) = self.units(x.view(-1, 4, 8))
        return self.out(outputs.mean(1) + cells[-1])


class Everything(nn.Module):
    """Many operations after each other; each has a part in the result."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)
        self.scale = nn.Parameter(torch.rand(8) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        h = x.view(-1, 4, 8) * self.scale + torch.arange(4).float()[None, :, None]
        h = torch.where(h > 0.3, h, h * 0.1).clamp(-3, 3).exp().log1p().sqrt().tanh().sigmoid()
        h = functional.silu(h) + functional.leaky_relu(h) + functional.elu(h - 0.5)
        h = h + functional.softplus(h) + functional.hardtanh(h) + h.erf() + h.sin() * h.cos()
        first, second = h.split([3, 5], -1)
        h = torch.cat([first, second.flip(-1)], -1)
        h = (
            h.std(1)
            + h.var(1)
            + h.amax(1)
            + h.amin(1)
            + h.norm(dim=1)
            + torch.maximum(h[:, 0], h[:, 1])
        )
        h = 1 - functional.normalize(h, dim=1)
        h = self.norm(-((2 / (h + 9)) ** 2) + h.rsqrt() + h.reciprocal())
        one_hot = functional.one_hot(x[:, 0].long().clamp(0, 7), 8).float()
        h = h + one_hot + h.cumsum(1) + functional.log_softmax(h, 1)
        h = h + h[:, [1, 0, 2, 3, 4, 5, 7, 6]] + torch.stack([h[:, 0]] * 8, 1)
        h = functional.pad(h, (1, 1), value=0.5)[:, 1:-1]
        pooled = (
            functional.avg_pool1d(h[:, None], 2)[:, 0] + functional.max_pool1d(h[:, None], 2)[:, 0]
        )
        logits = pooled + functional.rms_norm(pooled, (4,)) + h.detach()[:, ::2]
        return torch.cat([logits, h[:, :1].abs()], 1)


class Patchwork(nn.Module):
    """What authors write without thinking of a trace: changes in place, repeats, shared weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 4, 3, padding="same")
        self.round = nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.norm = nn.InstanceNorm1d(4, affine=True)
        self.drop = nn.Dropout1d(0.2)
        self.units = nn.GRU(4, 3, bias=False, batch_first=True)
        self.word = nn.Parameter(torch.randn(1, 1, 4))
        self.once = nn.Linear(3, 3, bias=False)
        self.twice = nn.Linear(3, 3, bias=False)
        self.twice.weight = self.once.weight
        self.out = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 2, 8).clone()
        x[:, 0, 2:4] = 0.5
        x[:, 1] += 1
        h = self.drop(self.norm(self.round(functional.selu(self.first(x)))))
        h = torch.cat([self.word.repeat(len_of(x), 1, 1), h.transpose(1, 2)], 1)
        h = self.units(h)[0].mean(1)
        h = self.twice(self.once(h).sigmoid().logit()) + 1.5**h + torch.sign(h)
        h = h + functional.cosine_similarity(h, h + 1, dim=1)[:, None] + h.cosh().log2().exp2()
        return self.out(torch.where(h.isnan(), torch.zeros_like(h), h))


def len_of(x: Tensor) -> int:
    """The batch, as a trace can follow it."""
    return x.shape[0]


def all_losses(output: Tensor, targets: Tensor) -> Tensor:
    """A sum of every loss."""
    logarithms = functional.log_softmax(output, 1)
    first, positive = output[:, 0], (targets > 0).float()
    real = targets.float()
    return (
        functional.cross_entropy(output, targets, label_smoothing=0.1)
        + functional.cross_entropy(output, targets, reduction="none").mean()
        + functional.cross_entropy(output, targets, reduction="sum") / 7
        + functional.nll_loss(logarithms, targets, ignore_index=2)
        + functional.cross_entropy(output, targets, torch.tensor([1.0, 2.0, 1.0, 1.0, 3.0]))
        + functional.binary_cross_entropy_with_logits(first, positive)
        + functional.binary_cross_entropy(first.sigmoid(), positive)
        + functional.mse_loss(first, real)
        + functional.smooth_l1_loss(first, real)
        + functional.huber_loss(first, real)
        + functional.l1_loss(first, real)
    )


def closeness(output: Tensor, targets: Tensor) -> Tensor:
    """A score for real-numbered targets."""
    return (1 - (output - targets).abs() / 5).clamp(0, 1)


def _normal(width: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.randn(rows, width)


def _whole(width: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.randint(0, 20, (rows, width)).float()


def cases() -> dict[str, Case]:
    """One of each kind, with weights that are the same each time."""
    torch.manual_seed(1)
    perceptron = nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(inplace=True), nn.Dropout(0.3),
        nn.Linear(16, CLASSES),
    )  # fmt: skip
    return {
        "perceptron": Case(perceptron, _normal(12)),
        "images": Case(Images(), _normal(64)),
        "signals": Case(Signals(), _normal(64)),
        "sequences": Case(Sequences(), _normal(16)),
        "factors": Case(Factors(), _whole(2), functional.mse_loss, closeness),
        "transformer": Case(Transformer(), _whole(8)),
        "own attention": Case(OwnAttention(), _normal(32)),
        "attention": Case(Attention(), _normal(32)),
        "memory": Case(Memory(), _normal(32)),
        "patchwork": Case(Patchwork(), _normal(16)),
        "everything": Case(Everything(), _normal(32), all_losses),
    }


@cache
def exported(name: str) -> tuple[Case, Exported]:
    """A case and what it is exported to: seconds each, so a process does it once."""
    case = cases()[name]
    return case, export(case.module, case.loss, case.batch(4), score=case.score)


def without_dropout(module: nn.Module) -> nn.Module:
    """In training mode, but with nothing dropped."""
    module.train()
    for each in module.modules():
        if isinstance(each, nn.Dropout | nn.Dropout1d | nn.MultiheadAttention):
            each.eval()
    return module
