"""The networks, as plain torch modules, and the studies that train them.

`python -m benchmarks.deep.models NAME PATH` writes the program of one. It runs as a process of its
own: tracing loads torch's compiler, which nodes forked from the benchmark should not inherit.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

import pnyx
from benchmarks.deep.owners import (
    ALPHABETS,
    CHARACTERS,
    SIDE,
    WINDOW,
    Population,
    handwriting,
    speech,
)

LETTERS = 50
PURPOSE_TERM = "dpv:ResearchAndDevelopment"
EXAMPLES = 8  # of the batch that is traced


class Letters(nn.Module):
    """A convolutional network for letters: 108,818 parameters.

    Normalised by groups of channels (Wu and He 2018): an owner's batch is small and of its own
    hand, so statistics of batches would differ between owners.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(1, 16, 5, padding=2), nn.GroupNorm(4, 16)
        self.second, self.second_norm = nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32)
        self.hidden, self.out = nn.Linear(32 * (SIDE // 4) ** 2, 64), nn.Linear(64, LETTERS)

    def forward(self, ink: Tensor) -> Tensor:
        """From ink [batch, 784], 0 to 255, to scores [batch, 50]."""
        drawn = (ink / 255).reshape(ink.shape[0], 1, SIDE, SIDE)  # [batch, 1, 28, 28]
        drawn = torch.relu(self.first_norm(self.first(drawn)))
        drawn = nn.functional.max_pool2d(drawn, 2)  # [batch, 16, 14, 14]
        drawn = torch.relu(self.second_norm(self.second(drawn)))
        drawn = nn.functional.max_pool2d(drawn, 2)  # [batch, 32, 7, 7]
        scores: Tensor = self.out(torch.relu(self.hidden(drawn.flatten(1))))
        return scores


class NextCharacter(nn.Module):
    """A neural language model over characters (Bengio et al. 2003): 1,038,275 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS), 32)
        self.first, self.first_norm = nn.Linear(32 * WINDOW, 1024), nn.LayerNorm(1024)
        self.second, self.second_norm = nn.Linear(1024, 480), nn.LayerNorm(480)
        self.out = nn.Linear(480, len(CHARACTERS))

    def forward(self, characters: Tensor) -> Tensor:
        """From characters [batch, 16], as float32 numbers, to scores [batch, 35]."""
        known = self.embedding(characters.long()).flatten(1)  # [batch, 512]
        known = torch.relu(self.first_norm(self.first(known)))  # [batch, 1024]
        known = torch.relu(self.second_norm(self.second(known)))  # [batch, 480]
        scores: Tensor = self.out(known)
        return scores


class Subject(msgspec.Struct, frozen=True):
    """A network, who has data for it, and how it is trained.

    size: columns, and below which number their values lie. rounds: unless told otherwise. training:
    of a study file. deadline_s: of a round.
    """

    title: str
    purpose: str
    module: Callable[[], nn.Module]
    size: tuple[int, int]
    population: Callable[[Path], Population]
    rounds: int
    training: dict[str, Any]
    deadline_s: float = 90.0


SUBJECTS = {
    "letters": Subject(
        title="Whose letters are these?",
        purpose=f"Read handwritten letters of {' and '.join(ALPHABETS)}, for research.",
        module=Letters,
        size=(SIDE * SIDE, 256),
        population=handwriting,
        rounds=30,
        training={
            "local_epochs": 5,
            "batch_size": 8,
            "learning_rate": 0.05,
            "clip_norm": 4.0,
            "fraction_bits": 12,
            "server_learning_rate": 1.5,
            "standardise": "none",
            "fine_tune_epochs": 3,
            "fine_tune_learning_rate": 0.01,
            "alone_epochs": 30,
            "alone_learning_rate": 0.05,
        },
    ),
    "speech": Subject(
        title="What will they say next?",
        purpose="Predict the next character of a person's speech, for research.",
        module=NextCharacter,
        size=(WINDOW, len(CHARACTERS)),
        population=speech,
        rounds=14,
        training={
            "local_epochs": 1,
            "batch_size": 32,
            "learning_rate": 0.2,
            "clip_norm": 4.0,
            "fraction_bits": 12,
            "standardise": "none",
            "fine_tune_epochs": 1,
            "fine_tune_learning_rate": 0.05,
            "alone_epochs": 8,
            "alone_learning_rate": 0.1,
        },
    ),
}


def main() -> None:
    """Write the program of a network."""
    name, path = sys.argv[1:]
    subject = SUBJECTS[name]
    columns, below = subject.size
    module = subject.module()
    example = torch.randint(below, (EXAMPLES, columns)).float(), torch.randint(2, (EXAMPLES,))
    exported = pnyx.export(module, nn.functional.cross_entropy, example)
    Path(path).write_bytes(exported.program)


if __name__ == "__main__":
    main()
