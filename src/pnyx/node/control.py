"""The owner's line to a running node: a Unix socket in the node's directory.

Only the user who runs the node may open it: the socket has mode 0600 in a directory of mode 0700,
and on Linux the kernel is asked whose process calls. Requests and answers are one line of JSON
each; a connection carries one of either. Sizes are bounded on both sides, and a caller that stays
silent is dropped.

    {"verb": "status"}                                 ->  {"ok": true, "result": {...}}
    {"verb": "consent", "study": "4f..", "decision": "accept"}
                                                       ->  {"ok": false, "error": "One sentence."}

Bytes travel as base64, identifiers of studies as hexadecimal digits. `node.answers` carries the
requests out.
"""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from pnyx.errors import ConfigError, PnyxError
from pnyx.node.keystore import NodeLayout
from pnyx.protocol.manifest import MANIFEST_BYTES_MAX
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.sandbox import Confinement
from pnyx.vault.files import FILE_MODE, describe

SOCKET_NAME = "control.sock"
SOCKET_PATH_BYTES_MAX = 100  # macOS allows 103, Linux 107
# A proposal with the largest manifest and model, in base 64; and what frames them.
REQUEST_BYTES_MAX = (MANIFEST_BYTES_MAX + DEFAULT_PARAMS.model_bytes_max) * 4 // 3 + 4096
ANSWER_BYTES_MAX = 128 * 1024 * 1024  # a bundle with the largest model, in base 64
CALL_TIMEOUT_S = 30.0
USE_TIMEOUT_S = 900.0  # a model trains first, perhaps after others
_BACKLOG = 16
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

T = TypeVar("T")
StudyName = Annotated[str, Meta(max_length=64)]  # the first digits of an id


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="verb"):
    """Base of what an owner may ask."""


class Status(_Request, frozen=True, tag="status"):
    """How is the node? Answered by `NodeStatus`."""


class Studies(_Request, frozen=True, tag="studies"):
    """Which studies are known? Answered by a list of `StudySummary`."""


class Decide(_Request, frozen=True, tag="consent"):
    """The owner's answer to a study, named by the first digits of its id; `StudySummary`."""

    study: StudyName
    decision: Literal["accept", "decline", "withdraw"]


class Preview(_Request, frozen=True, tag="preview"):
    """What would a study read of this owner's data? Answered by a `StudyPreview`."""

    study: StudyName


class Propose(_Request, frozen=True, tag="propose"):
    """Propose a study: encoded manifest and initial model. Answered by a `StudySummary`."""

    manifest: bytes
    model: bytes


class Use(_Request, frozen=True, tag="use"):
    """Apply a study's model to the owner's rows. Answered by `Predictions`.

    category: of the rows, the study's own when empty. fine_tune: on the owner's labelled rows.
    """

    study: StudyName
    category: Annotated[str, Meta(max_length=200)] = ""
    fine_tune: bool = True


class Result(_Request, frozen=True, tag="result"):
    """The state of a study's certified chain, with its model if asked; `StudyResult`."""

    study: StudyName
    model: bool = False


class Export(_Request, frozen=True, tag="export"):
    """Everything that proves a study's result. Answered by an `ExportedBundle`."""

    study: StudyName


class Ledger(_Request, frozen=True, tag="ledger"):
    """What left this node? Answered by a list of `LedgerLine`."""


class Stop(_Request, frozen=True, tag="stop"):
    """End the node. Answered by `Stopping` before it ends."""


Request = Status | Use | Studies | Decide | Preview | Propose | Result | Export | Ledger | Stop


class RingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a node stands in the ring. Ids are hexadecimal, nearest first."""

    joined: bool
    epoch: int | None
    successors: tuple[str, ...]
    predecessors: tuple[str, ...]
    nodes_known: int
    nodes_estimated: int
    items_held: int


NO_RING = RingStatus(
    joined=False,
    epoch=None,
    successors=(),
    predecessors=(),
    nodes_known=0,
    nodes_estimated=1,
    items_held=0,
)


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner wants to know at a glance.

    sandbox: of the training worker, as its owner reads it; confinement: the same in detail, `None`
    until the worker has told.
    """

    node_id: str
    process_id: int
    network: str
    network_id: bytes
    port: int
    nodes_enrolled: int
    peers_connected: int
    census_number: int
    census_valid_until: int  # unix seconds
    census_expired: bool  # then no new study opens
    contradicted: tuple[int, ...]  # numbers of which the authority signed two censuses
    epoch: int
    beacon_known: bool
    studies: int
    studies_asking: int
    contributions_sent: int
    # Node ids that evidence convicts -> whether beyond doubt. If not, it holds in one study, and
    # relies on few enough corrupt members in the committee there.
    convicted: dict[str, bool]
    ring: RingStatus
    sandbox: str
    confinement: Confinement | None


class PhaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One phase. An infinite epsilon, of sums without noise, is `None`: no bound."""

    kind: str
    rounds: int
    cohort_min: int
    epsilon: float | None
    ballot: str  # choice, approval, ranking or nothing
    masked: bool  # whether updates travel masked; unless verified, nobody checks their size
    groups: int = 1  # each with a sum, and with the floor, of its own
    tolerated: int = 0  # of them, that may be poisoned
    verified: bool = False  # whether their norm is verified all the same (experimental)


class ColumnSummary(msgspec.Struct, frozen=True):
    """What a statistics round published of a column, in its own unit."""

    name: str
    owners: float
    mean: float | None
    deviation: float | None


class StudySummary(msgspec.Struct, frozen=True, kw_only=True):
    """A study as its manifest describes it, and where it stands at this node."""

    study: str
    title: str
    purpose: str
    purpose_term: str
    category: str
    reads: tuple[str, ...]  # columns of the collection; none when the query cannot be run here
    query: str
    columns: tuple[str, ...]
    label: str
    cohort_min: int
    phases: tuple[PhaseSummary, ...]
    epsilon: float | None  # of the whole study, for an owner that contributes to every round
    proposer: str
    rounds: int
    rounds_certified: int
    finished: bool
    decision: str  # asks, accepted, declined or withdrawn
    decided_by: str  # owner, policy or nobody
    contributions: int  # sent by this node
    trouble: str = ""  # why this node could make no contribution, the last time
    scored: bool = False  # it predicts numbers: its figures are average scores, from 0 to 1


class StudyPreview(msgspec.Struct, frozen=True):
    """The rows that a study would train on or count, and the first of them; a label comes last.

    A missing value is `None`.
    """

    rows: int
    columns: tuple[str, ...]
    first: tuple[tuple[float | None, ...], ...]


class RoundSummary(msgspec.Struct, frozen=True):
    """One certified round: contributors counted, and the sums that it published.

    scale: metrics are in units of 1/scale, which is above 1 where noise was added to small counts.
    """

    round_number: int
    kind: str
    contributors: int
    metrics: tuple[int, ...]
    skipped: bool
    scale: int


class OwnAccuracy(msgspec.Struct, frozen=True):
    """Shares of this owner's held-out rows on which three models are right; they stay here."""

    alone: float
    shared: float
    personalised: float
    held_out: int


class ConvictedNode(msgspec.Struct, frozen=True):
    """A node of the network that broke a rule, and the hash of what proves it; hexadecimal."""

    node: str
    rule: str
    evidence: str


class StalledDraw(msgspec.Struct, frozen=True):
    """An attempt at the actor list of a round that this node waited for in vain.

    node: hexadecimal id of who did not bring it to an end; role: trigger or setter.
    """

    round_number: int
    attempt: int
    node: str
    role: str


class StudyResult(msgspec.Struct, frozen=True, kw_only=True):
    """A study's rounds and its current model, as float32 little-endian parameters.

    own: what this owner measured; None before the study's evaluation, or for who takes no part.
    """

    summary: StudySummary
    rounds: tuple[RoundSummary, ...]
    statistics: tuple[ColumnSummary, ...]
    own: OwnAccuracy | None
    convicted: tuple[ConvictedNode, ...]
    model_hash: str
    model: bytes
    stalled: tuple[StalledDraw, ...] = ()


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """What a model says of the owner's rows, in the order in which they were imported.

    classes: [rows] class indices; names: of the classes, where the owner's data name them. right:
    how many agree with the label that the row has; None when the rows have none. Of a model that
    predicts numbers instead: numbers [rows], and by how much they differ from the labels that there
    are, on average.
    """

    category: str
    classes: tuple[int, ...]
    names: tuple[str, ...]
    right: int | None
    numbers: tuple[float, ...] = ()
    mean_difference: float | None = None
    fine_tuned: bool


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One contribution that left, or that was about to. An infinite epsilon is `None`: no bound."""

    study: str
    round_number: int
    attempt: int
    phase: str
    bytes_planned: int
    epsilon: float | None
    at: float  # unix seconds
    state: Literal["debited", "acknowledged", "counted", "aborted"]


class ExportedBundle(msgspec.Struct, frozen=True):
    """The encoded bundle, for `node.bundle`."""

    content: bytes


class Stopping(msgspec.Struct, frozen=True):
    """The node ends once this is read."""

    process_id: int


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The line that goes back."""

    ok: bool
    result: msgspec.Raw = msgspec.Raw()
    error: str = ""


Handler = Callable[[Request], Awaitable[object]]


class ControlServer:
    """The node's end. `answer` raises PnyxError for what cannot be done."""

    def __init__(self, layout: NodeLayout, answer: Handler) -> None:
        self._path = layout.root / SOCKET_NAME
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The caller holds the directory's lock, so an old socket is a dead one."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _address(self._path) as address:
                listening.bind(address)
            self._path.chmod(FILE_MODE)  # nobody can connect before it listens
            listening.listen(_BACKLOG)
            self._server = await asyncio.start_unix_server(
                self._serve, sock=listening, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            listening.close()
            raise ConfigError(f"{self._path} cannot be opened: {describe(error)}.") from error

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _same_user(writer.get_extra_info("socket")):
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    writer.write(await self._answer_line(await reader.readuntil(b"\n")))
                    await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller went away, or never spoke
        except asyncio.LimitOverrunError:
            writer.write(_failure("The request is too large; send less at a time."))
        finally:
            writer.close()

    async def _answer_line(self, line: bytes) -> bytes:
        try:
            request = msgspec.json.decode(line, type=Request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _failure(f"The node does not understand the request: {error}.")
        try:
            result = await self._answer(request)
        except PnyxError as error:
            return _failure(str(error))
        answer = _Answer(True, msgspec.Raw(msgspec.json.encode(result)))
        return msgspec.json.encode(answer) + b"\n"


def call(
    layout: NodeLayout, request: Request, kind: type[T], *, timeout_s: float = CALL_TIMEOUT_S
) -> T:
    """Ask the running node of a directory and return its answer, of the given kind.

    Raises ConfigError when no node runs there, or PnyxError with the node's own sentence.
    """
    path = layout.root / SOCKET_NAME
    try:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
            _address(path) as address,
        ):
            connection.settimeout(timeout_s)
            connection.connect(address)
            connection.sendall(msgspec.json.encode(request) + b"\n")
            line = _read_line(connection)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise ConfigError(
            f"The node in {layout.root} is not running; "
            f"start it with `pnyx node run --dir {layout.root}`."
        ) from error
    except (ConnectionResetError, BrokenPipeError) as error:
        raise _cut_short(layout) from error
    except TimeoutError as error:
        raise PnyxError(
            f"The node in {layout.root} did not answer within {timeout_s:g} s; try again."
        ) from error
    except OSError as error:
        raise PnyxError(
            f"The node in {layout.root} cannot be asked ({describe(error)}); "
            "run this as the user who runs the node."
        ) from error
    return _read_answer(line, kind, layout)


def _read_answer(line: bytes, kind: type[T], layout: NodeLayout) -> T:
    try:
        answer = msgspec.json.decode(line, type=_Answer)
        if answer.ok:
            return msgspec.json.decode(answer.result, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _cut_short(layout) from error
    raise PnyxError(answer.error)


def _cut_short(layout: NodeLayout) -> PnyxError:
    return PnyxError(
        f"The answer of the node in {layout.root} is incomplete: it may have stopped; "
        "look at `pnyx node status` and try again."
    )


def _read_line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part:
            break
        received += part
        if len(received) > ANSWER_BYTES_MAX:
            raise PnyxError("The node's answer is too large; update Pnyx.")
    return bytes(received)


def _failure(sentence: str) -> bytes:
    return msgspec.json.encode(_Answer(False, error=sentence)) + b"\n"


def _same_user(connection: socket.socket) -> bool:
    """Whether the caller's process belongs to this node's user; elsewhere file modes decide."""
    if sys.platform != "linux":
        return True
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, caller, _ = _CREDENTIALS.unpack(raw)
    return bool(caller == os.geteuid())


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield a name for the socket that is short enough for the kernel.

    Linux reaches a file in a deep directory through a descriptor of that directory.
    """
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        yield str(path)
        return
    if sys.platform != "linux":
        raise ConfigError(
            f"The path {path} is too long for a local socket (at most {SOCKET_PATH_BYTES_MAX} "
            "bytes); move the node to a directory with a shorter path."
        )
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
