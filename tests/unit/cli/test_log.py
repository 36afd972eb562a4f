"""What a running node tells on stderr."""

import pytest

from pnyx.cli.log import NoticeLog, node_logger
from pnyx.node.parcel_sender import ParcelDamaged
from pnyx.node.postman import MessagesDropped
from pnyx.node.queries import QueryConfined
from pnyx.node.trainer import TaskFailed, WorkerConfined
from pnyx.protocol.events import (
    AttemptAborted,
    ContributionAcknowledged,
    ContributionCounted,
    ContributionSent,
    ContributionsJudged,
    DrawStalled,
    EnvelopesKept,
    EpochOpened,
    MessageRejected,
    ParcelProgressed,
    PeerBlamed,
    RequestRefused,
    RoundCertified,
    StepReached,
    StudyFinished,
)
from pnyx.sandbox import Confinement

STUDY, PEER = b"\x4f" * 32, b"\xab" * 32
NOTICES = {
    "epoch begun": EpochOpened(0, bytes(32)),
    "committee step": StepReached(STUDY, 1, "open"),
    "contribution sent": ContributionSent(STUDY, 1, 1000),
    "contribution acknowledged": ContributionAcknowledged(STUDY, 1, 1, 16),
    "contribution counted": ContributionCounted(STUDY, 1, 1, bytes(32)),
    "envelopes kept": EnvelopesKept(STUDY, 1, 2),
    "attempt aborted": AttemptAborted(STUDY, 1, 1, bytes(32)),
    "draw stalled": DrawStalled(STUDY, 2, 1, PEER, "setter"),
    "contributions judged": ContributionsJudged(STUDY, 1, (STUDY,), (PEER,), ()),
    "round certified": RoundCertified(STUDY, 1, 24, (1, 2), b"model", False),
    "round skipped": RoundCertified(STUDY, 1, 0, (), b"model", True),
    "study finished": StudyFinished(STUDY, b"model"),
    "message rejected": MessageRejected(PEER, "too\x1blong"),
    "peer broke a rule": PeerBlamed(PEER, "bad share"),
    "parcel arrives": ParcelProgressed(PEER, 131_072, 5_000_000),
    "parcel damaged on the disk": ParcelDamaged(PEER, 3),
    "message dropped": MessagesDropped(PEER, 5, 10),
    "request refused": RequestRefused("no such study"),
    "training sandbox": WorkerConfined(
        Confinement(landlock_version=0, system_calls=True, limits=True)
    ),
    "query sandbox": QueryConfined(
        Confinement(landlock_version=7, system_calls=False, limits=True)
    ),
    "no contribution was made": TaskFailed(STUDY, 3, "Training gave NaN\x1b: nothing was sent."),
}
DEBUG = {
    "committee step",
    "contribution counted",
    "envelopes kept",
    "message rejected",
    "parcel arrives",
}


def logged(capsys: pytest.CaptureFixture[str], level: str) -> str:
    log = NoticeLog(node_logger(level))
    for notice in NOTICES.values():
        log(notice)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_every_notice_is_one_line(capsys) -> None:
    lines = logged(capsys, "debug").splitlines()
    assert len(lines) == len(NOTICES)
    for line, event in zip(lines, NOTICES, strict=True):
        assert f'event="{event}"' in line
    assert "\x1b" not in "".join(lines)


def test_level_decides_what_is_told(capsys) -> None:
    informed = logged(capsys, "info")
    assert not [event for event in DEBUG if event in informed]
    warned = logged(capsys, "warning").splitlines()
    assert len(warned) == 8
    assert 'confinement="reduced: files and network are not barred by Landlock"' in warned[5]
    full = WorkerConfined(Confinement(landlock_version=1, system_calls=True, limits=True))
    NoticeLog(node_logger("warning"))(full)
    assert capsys.readouterr().err == ""
    assert logged(capsys, "error") == ""


def test_models_are_never_logged(capsys) -> None:
    assert "model" not in logged(capsys, "debug")
