"""Data sets in the hands of forty owners: each one's rows, and the file that it would import.

Omniglot (Lake, Salakhutdinov and Tenenbaum 2015), as 28 × 28 images of two alphabets: a drawer is
an owner, and drew each letter of one alphabet once. So an owner's own letters cannot teach it any
that was held out; only the other drawers can.

Shakespeare's roles (the corpus of Karpathy's char-rnn): the owner is a role, one of the forty that
speak most, and an example is a window of characters with the one that follows.
"""

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

ALPHABETS = ("Greek", "Latin")  # 24 + 26 letters, of 20 drawers each
SIDE = 28
ROLES = 40
CHARACTERS = " abcdefghijklmnopqrstuvwxyz,.;:?!'-"
WINDOW = 16
WINDOWS_MAX = 2000  # of one role, evenly spread over all that it says

LABEL = "label"


class Owner(msgspec.Struct, frozen=True):
    """One person's examples. rows: [examples, columns] integers; targets: [examples] classes."""

    rows: NDArray[np.int64]
    targets: NDArray[np.int64]


class Population(msgspec.Struct, frozen=True):
    """Everybody's examples of one data category, and how its columns and classes are called."""

    category: str
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    owners: tuple[Owner, ...]

    def mapping(self) -> dict[str, Any]:
        """How an owner's file is imported."""
        columns: dict[str, Any] = {name: {"type": "int"} for name in self.columns}
        columns[LABEL] = {"type": "text", "classes": list(self.classes)}
        return {"category": self.category, "columns": columns}

    def write(self, number: int, path: Path) -> None:
        """Write the file of one owner, as an application would export it."""
        owner = self.owners[number]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*self.columns, LABEL])
            for row, target in zip(owner.rows.tolist(), owner.targets.tolist(), strict=True):
                writer.writerow([*row, self.classes[target]])


def handwriting(data: Path) -> Population:
    """Letters by drawer: 784 columns of ink, 0 to 255. data: the folder of the data sets."""
    folder = data / "omniglot-small"
    with np.load(folder / "images.npz") as arrays:
        images = arrays["images"]
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        listed = [row for row in enumerate(csv.DictReader(file)) if row[1]["alphabet"] in ALPHABETS]
    classes = sorted({row["label"] for _, row in listed})
    drawn: defaultdict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
    for number, row in listed:
        drawn[row["alphabet"], int(row["drawer"])].append((number, row["label"]))
    owners = tuple(
        Owner(
            images[[number for number, _ in letters]].reshape(len(letters), -1).astype(np.int64),
            np.array([classes.index(label) for _, label in letters]),
        )
        for _, letters in sorted(drawn.items())
    )
    columns = tuple(f"ink{y:02}{x:02}" for y in range(SIDE) for x in range(SIDE))
    return Population("handwriting.letters", columns, tuple(classes), owners)


def speech(data: Path) -> Population:
    """Windows of characters by role. data: the folder of the data sets."""
    path = data / "shakespeare-roles" / "speeches.csv.gz"
    spoken: defaultdict[str, list[str]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            spoken[row["role"]].append(_plain(row["text"]))
    talkative = Counter({role: sum(map(len, texts)) for role, texts in spoken.items()})
    owners = tuple(_windows(spoken[role]) for role, _ in talkative.most_common(ROLES))
    columns = tuple(f"before{WINDOW - place:02}" for place in range(WINDOW))
    return Population("speech.characters", columns, tuple(CHARACTERS), owners)


def _plain(text: str) -> str:
    """Lower case, and a blank for what is no character of ours."""
    return "".join(each if each in CHARACTERS else " " for each in text.lower())


def _windows(texts: Sequence[str]) -> Owner:
    numbers = np.array([CHARACTERS.index(each) for each in " ".join(texts)])
    last = len(numbers) - WINDOW - 1
    starts = np.unique(np.linspace(0, last, min(WINDOWS_MAX, last + 1)).astype(np.int64))
    rows = np.lib.stride_tricks.sliding_window_view(numbers, WINDOW)[starts]
    return Owner(rows, numbers[starts + WINDOW])
