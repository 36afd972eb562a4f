"""What each node of the demonstration says about itself, for the launcher to read.

A node appends one JSON object a line to `events.jsonl` in its own directory. A file, and not a
pipe: a node must not notice when the launcher dies.
"""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pnyx.node.transport.base import Traffic
from pnyx.protocol.events import (
    ContributionAcknowledged,
    ContributionSent,
    ContributionsJudged,
    EnvelopesKept,
    EpochOpened,
    MessageRejected,
    Notice,
    PeerBlamed,
    RoundCertified,
    StepReached,
    StudyFinished,
)

FILE_NAME = "events.jsonl"


class EventLog:
    """An observer that writes notices as lines."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / FILE_NAME).open("a", buffering=1)
        self.traffic: Callable[[], Traffic] | None = None
        self._rejected: dict[str, int] = {}

    def __call__(self, notice: Notice) -> None:
        """Write one line for what a reader of the demonstration may want to know."""
        match notice:
            case EpochOpened():
                self._write("epoch", epoch=notice.epoch)
            case StepReached():
                self._write("step", round=notice.round_number, step=notice.step)
            case ContributionSent():
                self._write("sent", round=notice.round_number, bytes=notice.payload_bytes)
            case ContributionAcknowledged():
                self._write("acknowledged", round=notice.round_number, attempt=notice.attempt)
            case EnvelopesKept():
                self._write("kept", round=notice.round_number)
            case ContributionsJudged():
                self._write(
                    "judged",
                    round=notice.round_number,
                    accepted=[node.hex() for node in notice.accepted],
                    rejected=[node.hex() for node in notice.rejected],
                    left_out=[node.hex() for node in notice.left_out],
                )
            case RoundCertified():
                self._write(
                    "round",
                    round=notice.round_number,
                    contributors=notice.contributors,
                    metrics=list(notice.metrics),
                    skipped=notice.skipped,
                )
            case StudyFinished():
                self._write("finished", rejected=self._rejected)
            case PeerBlamed():
                self._write(
                    "blamed",
                    peer=notice.peer.hex(),
                    rule=notice.rule,
                    evidence=notice.evidence.hex(),
                )
            case MessageRejected():
                self._rejected[notice.rule] = self._rejected.get(notice.rule, 0) + 1
            case _:
                return

    def note(self, event: str, **fields: Any) -> None:
        """Write a line of the launcher's own."""
        self._write(event, **fields)

    def _write(self, event: str, **fields: Any) -> None:
        traffic = self.traffic() if self.traffic is not None else None
        usage = resource.getrusage(resource.RUSAGE_SELF)
        line = {
            "event": event,
            "at": time.monotonic(),
            "cpu": usage.ru_utime + usage.ru_stime,
            "bytes_sent": traffic.bytes_sent if traffic is not None else 0,
            **fields,
        }
        self._file.write(json.dumps(line) + "\n")


class EventReader:
    """Follows one node's file."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._position = 0

    def read(self) -> list[dict[str, Any]]:
        """Lines written since the last call; a line still being written waits."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data.rfind(b"\n") + 1
        self._position += whole
        return [json.loads(line) for line in data[:whole].splitlines()]
