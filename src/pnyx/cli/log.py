"""What a running node tells on stderr: one line for each thing that a person may want to know.

No value of the owner's data, no key and no message content is ever logged.
"""

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from pnyx.cli.common import plain
from pnyx.node.parcel_sender import ParcelDamaged
from pnyx.node.postman import MessagesDropped
from pnyx.node.queries import QueryConfined
from pnyx.node.trainer import TaskFailed, WorkerConfined
from pnyx.protocol.events import (
    AttemptAborted,
    AuthorityContradicted,
    CensusLearnt,
    ContributionAcknowledged,
    ContributionCounted,
    ContributionSent,
    ContributionsJudged,
    DrawStalled,
    EnvelopesKept,
    EpochOpened,
    MessageRejected,
    Notice,
    ParcelProgressed,
    PeerBlamed,
    RequestRefused,
    RoundCertified,
    StepReached,
    StudyFinished,
)
from pnyx.sandbox import Confinement

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_ID_DIGITS = 12


def node_logger(level: str) -> "FilteringBoundLogger":
    """Return a logger that prints from this level on: debug, info, warning or error."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    return logger


class NoticeLog:
    """An observer of a node that writes notices to a logger."""

    def __init__(self, logger: "FilteringBoundLogger") -> None:
        self._logger = logger

    def __call__(self, notice: Notice) -> None:
        """Log one notice, at the level that its reader deserves."""
        log = self._logger
        match notice:
            case StudyFinished():
                log.info("study finished", study=_short(notice.study))
            case MessageRejected():
                log.debug("message rejected", peer=_short(notice.peer), rule=plain(notice.rule))
            case PeerBlamed():
                proof = {"evidence": _short(notice.evidence)} if notice.evidence else {}
                log.warning(
                    "peer broke a rule", peer=_short(notice.peer), rule=plain(notice.rule), **proof
                )
            case ParcelProgressed():
                sizes = {"stored": notice.stored, "length": notice.length}
                log.debug("parcel arrives", parcel=_short(notice.parcel), **sizes)
            case ParcelDamaged():
                where = {"parcel": _short(notice.parcel), "chunk": notice.index}
                log.warning("parcel damaged on the disk", **where)
            case MessagesDropped():
                sizes = {"bytes": notice.message_bytes, "waiting": notice.waiting_bytes}
                log.warning("message dropped", peer=_short(notice.peer), **sizes)
            case RequestRefused():
                log.warning("request refused", reason=plain(notice.reason))
            case WorkerConfined():
                self._log_confinement("training sandbox", notice.confinement)
            case QueryConfined():
                self._log_confinement("query sandbox", notice.confinement)
            case TaskFailed():
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.warning("no contribution was made", reason=plain(notice.reason), **where)
            case EpochOpened() | CensusLearnt() | AuthorityContradicted():
                self._log_epoch(notice)
            case _:
                self._log_round(notice)

    def _log_epoch(self, notice: EpochOpened | CensusLearnt | AuthorityContradicted) -> None:
        match notice:
            case EpochOpened():
                self._logger.info("epoch begun", epoch=notice.epoch)
            case CensusLearnt():
                self._logger.info("census known", number=notice.number, nodes=notice.nodes)
            case AuthorityContradicted():
                self._logger.error("the authority signed two censuses", number=notice.number)

    def _log_confinement(self, event: str, found: Confinement) -> None:
        tell = self._logger.info if found.full else self._logger.warning
        tell(event, confinement=found.describe())

    def _log_round(self, notice: Notice) -> None:
        log = self._logger
        match notice:
            case StepReached():
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.debug("committee step", step=notice.step, **where)
            case ContributionSent():
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.info("contribution sent", bytes=notice.payload_bytes, **where)
            case ContributionAcknowledged():
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.info("contribution acknowledged", receipts=notice.receipts, **where)
            case ContributionCounted():
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.debug("contribution counted", **where)
            case EnvelopesKept():
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.debug("envelopes kept", members=notice.members, **where)
            case AttemptAborted():
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.warning("attempt aborted", attempt=notice.attempt, **where)
            case DrawStalled():
                where = {"study": _short(notice.study), "round": notice.round_number}
                part = {"attempt": notice.attempt, "role": notice.role}
                log.info("draw stalled", node=_short(notice.node), **part, **where)
            case ContributionsJudged():
                where = {"study": _short(notice.study), "round": notice.round_number}
                judged = {"accepted": len(notice.accepted), "rejected": len(notice.rejected)}
                log.info("contributions judged", **judged, left_out=len(notice.left_out), **where)
            case RoundCertified():
                event = "round skipped" if notice.skipped else "round certified"
                where = {"study": _short(notice.study), "round": notice.round_number}
                log.info(event, contributors=notice.contributors, **where)


def _short(identifier: bytes) -> str:
    return identifier.hex()[:_ID_DIGITS]
