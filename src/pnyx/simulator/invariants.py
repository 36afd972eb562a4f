"""What must hold in every run, checked after every effect that an honest node carries out.

1. Sums are exact: each node contributes its unit vector, so metrics and model show who was counted.
   No node is counted twice, with anything else, or without having joined; no honest node without
   being drawn, consenting and debited.
2. A record that opens anything counts at least the study's floor, in every group.
3. Honest nodes hold the same record for a round: never two that a quorum signed.
4. One accepted set is released for a round, in whichever attempt, and only after a quorum's lock
   certificate on it; never in an attempt with a certificate of abort.
5. A node signs one value for one slot, whatever happens to its process.
6. Nothing of an owner leaves before consent and ledger entry are durable, or after withdrawal.
7. An acknowledged contribution stands on the closed list, or its attempt is certified as aborted,
   or its round as skipped. A node tells its owner that a contribution counts once a record of that
   attempt counts it, whatever receipts came back, and of no other.
8. Once a round's record is in, or an attempt aborted, no round key, share or contribution of it is
   left on the disk; and a second attempt repeats nothing of the first.
9. There is no evidence against an honest node, and no record excludes one.

That every round ends is checked by the scenario, which knows when the faults are over.
The checkers see what an outside observer of all disks and links would; corrupt nodes owe nothing.
"""

from collections.abc import Callable, Collection
from contextlib import suppress

import numpy as np

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.primitives.signature import check_quorum
from pnyx.protocol.aggregation.robust import GroupUpdate, combine
from pnyx.protocol.agreement import value_hash, vote_statement
from pnyx.protocol.events import (
    ContributionAcknowledged,
    ContributionCounted,
    Effect,
    PeerBlamed,
    Persist,
    RoundCertified,
    Send,
    StudyFinished,
)
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.messages import (
    Certificate,
    Contribution,
    ContributionHeader,
    Decision,
    GiveUp,
    Instance,
    MemberBody,
    MemberInput,
    Part,
    Phase,
    Proposal,
    Record,
    RecordBody,
    RecordVote,
    Release,
    RoundKey,
    VerifyResponse,
    Vote,
)
from pnyx.protocol.models import model_name
from pnyx.protocol.ports import IntVector
from pnyx.protocol.round.attempts import without_outcome
from pnyx.protocol.round.groups import NO_SUM
from pnyx.protocol.round.values import CloseValue, header_hash, is_abort
from pnyx.protocol.selection import contributor_groups, draw_contributors
from pnyx.protocol.study import read_body, record_hash
from pnyx.simulator.population import MODEL_DTYPE, SimulatedNode, UnitVectors

_BYTES_MAX = 8 * 1024 * 1024
_Observed = (
    MemberInput | Contribution | Vote | RecordVote | Proposal | Certificate | Decision | Part
)
# A record is a MessagePack array of at most 15 fields whose first is its tag, below 128: so the
# tag is the second byte. Looking at it saves decoding what no checker is interested in.
_TAGS = frozenset({50, 70, 58, 56, 57, 59, 60, 66})


class InvariantError(AssertionError):
    """A run broke an invariant; the text says which, who and when."""


class _Round:
    """What was seen of one attempt of one round, named by its context."""

    def __init__(self) -> None:
        self.locked: set[tuple[Instance, bytes]] = set()
        self.released: set[bytes] = set()
        self.closed: dict[bytes, frozenset[int]] = {}  # hash of a CLOSE value -> contributors
        self.aborts: set[bytes] = set()  # hashes of values that are aborts
        self.parts: dict[bytes, dict[int, bytes]] = {}  # of what travels in parts, by its root


class Checker:
    """Follows a run; raises InvariantError at the first effect that breaks an invariant."""

    def __init__(
        self,
        nodes: Collection[SimulatedNode],
        rule: UnitVectors,
        corrupt: Collection[int],
        now: Callable[[], float],
    ) -> None:
        self._nodes = tuple(nodes)
        self._index = {node.node_id: node.index for node in nodes}
        self._rule = rule
        self._corrupt = frozenset(corrupt)
        self._now = now
        self._rounds: dict[bytes, _Round] = {}
        self._signed: dict[tuple[object, ...], bytes] = {}
        self._contributed: set[tuple[bytes, int]] = set()  # (context, node)
        self._acknowledged: dict[tuple[bytes, int], set[tuple[int, int]]] = {}  # attempt, node
        self._told: set[tuple[int, bytes, int]] = set()  # node, study, round that counts its own
        self._named: dict[bytes, tuple[bytes, int]] = {}  # context -> study, round
        self._released: dict[tuple[bytes, int], set[tuple[bytes, bytes]]] = {}
        self._once: dict[bytes, bytes] = {}  # what may stand in one attempt only -> its context
        self._last_payload = b""
        self._manifests: dict[bytes, Manifest] = {}
        self.records: dict[bytes, dict[int, tuple[RecordBody, Record]]] = {}
        self._models: dict[bytes, dict[int, bytes]] = {}

    def add_study(self, study: bytes, manifest: Manifest) -> None:
        """Check the records of this study too."""
        self._manifests[study] = manifest
        self._models[study] = {0: self._rule.initial_model}

    def on_effect(self, node: SimulatedNode, effect: Effect) -> None:
        """Check one effect, just before it is carried out."""
        honest = node.index not in self._corrupt
        match effect:
            case Send() if len(effect.payload) > 1 and effect.payload[1] in _TAGS:
                self._on_send(node, effect.payload, honest=honest)
            case Persist() if honest and "/record/" in effect.key:
                self._on_record(node, effect.value)
            case ContributionAcknowledged() if honest:
                slot = effect.study, effect.round_number
                self._acknowledged.setdefault(slot, set()).add((effect.attempt, node.index))
                self._check_acknowledged(*slot)
            case ContributionCounted() if honest:
                self._on_counted(node, effect)
            case PeerBlamed() if honest and effect.evidence:
                accused = self._index[effect.peer]
                if accused not in self._corrupt:
                    self.fail(f"has evidence against the honest node {accused}", node)
            case RoundCertified() if honest:
                self._on_certified(node, effect)
            case StudyFinished() if honest:
                self._on_finished(node, effect)
            case _:
                return

    def fail(self, rule: str, node: SimulatedNode | None = None) -> None:
        """Report a broken invariant."""
        who = f"node {node.index}: " if node is not None else ""
        raise InvariantError(f"t={self._now():.3f}: {who}{rule}")

    # --- messages -------------------------------------------------------------------------------

    def _on_send(self, node: SimulatedNode, payload: bytes, *, honest: bool) -> None:
        broadcast = payload is self._last_payload
        self._last_payload = payload
        try:
            message = codec.decode(payload, _Observed, bytes_max=_BYTES_MAX)
        except ProtocolError:
            if honest:
                self.fail("sends bytes that cannot be read", node)
            return
        seen = self._rounds.setdefault(message.context, _Round())
        match message:
            case Proposal() | Decision() if not broadcast:
                self._learn_value(seen, message.instance, message.value)
                if honest and isinstance(message, Proposal):
                    self._on_proposal(node, message)
            case Certificate() if not broadcast:
                self._learn_lock(node, seen, message)
            case Part() if not broadcast:
                self._learn_part(node, seen, message, honest=honest)
            case _ if not honest or broadcast:
                return
            case MemberInput():
                self._on_input(node, seen, message)
            case Contribution() if message.header.signer == node.node_id:
                self._on_contribution(node, message)
            case Vote():
                slot = ("vote", message.instance, message.phase, message.view)
                self._sign_once(node, message.context, slot, message.value_hash)
            case RecordVote():
                self._sign_once(node, message.context, ("record",), message.body_hash)
            case _:
                return

    def _sign_once(
        self, node: SimulatedNode, context: bytes, slot: tuple[object, ...], value: bytes
    ) -> None:
        known = self._signed.setdefault((node.index, context, *slot), value)
        if known != value:
            self.fail(f"signed two values for {slot}", node)

    def _on_proposal(self, node: SimulatedNode, message: Proposal) -> None:
        slot = ("proposal", message.instance, message.view)
        self._sign_once(node, message.context, slot, value_hash(message.value))

    def _on_input(self, node: SimulatedNode, seen: _Round, message: MemberInput) -> None:
        body = codec.decode(message.signed.body, MemberBody, bytes_max=_BYTES_MAX)
        if isinstance(body, RoundKey | VerifyResponse | Release | GiveUp):
            slot = (type(body).__name__,)
            said = message.signed.body
            if message.answers is not None:  # the same ones go with the same response
                said += codec.encode(message.answers)
            self._sign_once(node, message.context, slot, said)
        if isinstance(body, RoundKey):
            self._fresh(node, message.context, body.encryption_key)
        if isinstance(body, Release) and any(body.accepted):
            seen.released.add(body.accepted)
            if (Instance.ACCEPT, body.accepted) not in seen.locked:
                self.fail("released a share without a lock certificate", node)
            if body.accepted in seen.aborts:
                self.fail("released a share in an aborted attempt", node)
            released = self._released.setdefault(self._named[message.context], set())
            released.add((message.context, body.accepted))
            if len(released) > 1:
                self.fail("a second accepted set is released", node)

    def _fresh(self, node: SimulatedNode, context: bytes, drawn: bytes) -> None:
        """What is drawn for one attempt is never seen in another."""
        if self._once.setdefault(drawn, context) != context:
            self.fail("uses in one attempt what it drew for another", node)

    def _on_contribution(self, node: SimulatedNode, message: Contribution) -> None:
        context = message.context
        self._sign_once(node, context, ("header",), header_hash(message.header))
        if context not in node.ledger:
            self.fail("a contribution leaves before its debit is durable", node)
        if not node.consents:
            self.fail("a contribution leaves without consent", node)
        header = codec.decode(message.header.body, ContributionHeader, bytes_max=_BYTES_MAX)
        if header.contributor != node.index:
            self.fail("a contribution names another node", node)
        self._fresh(node, context, header.shares_root)
        self._contributed.add((context, node.index))

    def _learn_part(self, node: SimulatedNode, seen: _Round, part: Part, *, honest: bool) -> None:
        """A proposal may travel in parts: read it once all have been sent."""
        parts = seen.parts.setdefault(part.root, {})
        if sum(map(len, parts.values())) == part.length:
            return
        parts[part.number] = part.data
        if sum(map(len, parts.values())) < part.length:
            return
        whole = b"".join(parts[number] for number in sorted(parts))
        seen.parts[part.root] = {0: whole}  # the whole is there: what comes again is no news
        with suppress(ProtocolError):  # anything but a proposal
            proposal = codec.decode(whole, Proposal, bytes_max=_BYTES_MAX)
            self._learn_value(seen, proposal.instance, proposal.value)
            committee = self._committee(node, proposal.context)
            if honest and committee is not None:
                leader = committee[0][proposal.view % len(committee[0])]
                if leader == node.crypto.public_key:  # who relays parts has not made them
                    self._on_proposal(node, proposal)

    def _learn_value(self, seen: _Round, instance: Instance, value: bytes) -> None:
        if instance is Instance.ACCEPT and is_abort(value):
            seen.aborts.add(value_hash(value))
        if instance is not Instance.CLOSE or value_hash(value) in seen.closed:
            return
        try:
            closed = codec.decode(value, CloseValue, bytes_max=_BYTES_MAX)
        except ProtocolError:
            return
        known = (self._index.get(signed.signer) for signed in closed.headers)
        named = {
            index for index in known if index is not None
        }  # a corrupt leader proposes anything
        seen.closed[value_hash(value)] = frozenset(named)

    def _learn_lock(self, node: SimulatedNode, seen: _Round, message: Certificate) -> None:
        slot = message.instance, message.value_hash
        if message.phase is not Phase.LOCK or slot in seen.locked:
            return
        committee = self._committee(node, message.context)
        if committee is None:
            return
        keys, quorum, verify = committee
        statement = vote_statement(
            message.context, message.instance, Phase.LOCK, message.view, message.value_hash
        )
        try:
            check_quorum(message.certificate, keys, statement, quorum, verify)
        except ProtocolError:
            return
        if any(instance is message.instance for instance, _ in seen.locked):
            self.fail(f"two values of {message.instance.name} are certified", node)
        seen.locked.add(slot)

    def _committee(
        self, node: SimulatedNode, context: bytes
    ) -> tuple[tuple[bytes, ...], int, Callable[[bytes, bytes, bytes], bool]] | None:
        for holder in (node, *self._nodes):
            for state in holder.machine.studies.values() if holder.machine is not None else ():
                if state.plan is not None and state.plan.context == context:
                    plan = state.plan
                    self._named[context] = plan.study, plan.round_number
                    return plan.public_keys, plan.size.quorum, node.crypto.verify
        return None

    # --- records --------------------------------------------------------------------------------

    def _on_record(self, node: SimulatedNode, value: bytes) -> None:
        record = codec.decode(value, Record, bytes_max=_BYTES_MAX)
        body = read_body(record)
        chain = self.records.setdefault(body.study, {})
        known = chain.get(body.round_number)
        if known is not None:
            if known[1].body != record.body:
                self.fail(f"holds another record of round {body.round_number}", node)
            return
        chain[body.round_number] = body, record
        if not self._corrupt.issuperset(body.excluded):
            self.fail(f"round {body.round_number} excludes an honest node")
        if body.round_number > 0:
            self._check_accepted(body)
            self._check_sum(body)
            self._check_acknowledged(body.study, body.round_number)

    def _check_accepted(self, body: RecordBody) -> None:
        manifest = self._manifests[body.study]
        number = body.round_number
        if not body.skipped and len(body.accepted) < manifest.phase_of(number).cohort_min:
            self.fail(f"round {number} opens fewer contributions than the floor")
        if len(set(body.accepted)) != len(body.accepted):
            self.fail(f"round {number} counts somebody twice")
        floor = manifest.phase_of(number).cohort_min
        groups = self._groups(body)
        if any(len(group) < floor for group in groups.values()):
            self.fail(f"round {number} opens a group below the floor")
        if [each.group for each in body.sums] != sorted(groups):
            self.fail(f"round {number} names other groups than it opens")
        joined = set(self.records[body.study][number - 1][1].joins)
        for who in body.accepted:
            if who not in joined:
                self.fail(f"round {number} counts node {who}, which had not joined")
            if who not in self._corrupt and (body.context, who) not in self._contributed:
                self.fail(f"round {number} counts node {who}, which contributed nothing")

    def _groups(self, body: RecordBody) -> dict[int, list[int]]:
        """Group -> its contributors that count, by what the previous record imposes."""
        before, record = self.records[body.study][body.round_number - 1]
        phase = self._manifests[body.study].phase_of(body.round_number)
        ids = [self._nodes[who].node_id for who in record.joins if who not in before.excluded]
        drawn = draw_contributors(before.next_beacon, ids, phase.drawn)
        imposed = contributor_groups(before.next_beacon, drawn, phase.groups)
        groups: dict[int, list[int]] = {}
        for node, group in zip(drawn, imposed, strict=True):
            if self._index[node] in body.accepted:
                groups.setdefault(group, []).append(self._index[node])
        return {group: groups[group] for group in sorted(groups)}

    def _growth(self, body: RecordBody) -> IntVector:
        """What the model [slots] must grow by: what was contributed, or as the rule has it."""
        groups = self._groups(body).values()
        updates = [GroupUpdate(self._rule.total(group)[0], len(group)) for group in groups]
        robust = self._manifests[body.study].phase_of(body.round_number).robust
        return combine(updates, robust).total

    def _check_sum(self, body: RecordBody) -> None:
        """Metrics are those of the accepted set, and the model grows by what it contributed."""
        models = self._models[body.study]
        before = np.frombuffer(models[body.round_number - 1], dtype=MODEL_DTYPE)
        growth = np.zeros(self._rule.slots, dtype=np.int64)
        if body.metrics:
            _, expected = self._rule.total(body.accepted)
            if not np.array_equal(np.array(body.metrics, dtype=np.int64), expected):
                self.fail(f"round {body.round_number} sums to {body.metrics}")
            growth = self._growth(body)
        elif not body.skipped:
            self.fail(f"round {body.round_number} lost its sum")
        grown = before.copy()
        grown[: self._rule.slots] += growth
        after = grown.astype(MODEL_DTYPE).tobytes()
        models[body.round_number] = after
        if model_name(after) != body.model_hash:
            self.fail(f"round {body.round_number} names another model than its sum gives")

    def _check_acknowledged(self, study: bytes, number: int) -> None:
        known = self.records.get(study, {}).get(number)
        if known is None:
            return
        body, record = known
        if without_outcome(body):
            return
        closed = self._rounds[body.context].closed[body.closed_value]
        for attempt, who in self._acknowledged.get((study, number), ()):
            aborted = attempt < body.attempt and record.abort is not None
            if who not in closed and not aborted:
                self.fail(f"round {number} lost the acknowledged contribution of node {who}")

    def _holds(self, body: RecordBody, who: int) -> bool:
        """Whether what a record publishes holds a node's contribution."""
        groups = self._groups(body) if body.metrics else {}
        spoilt = {each.group for each in body.sums if each.sum == NO_SUM}
        return any(who in groups[group] for group in groups if group not in spoilt)

    def _on_counted(self, node: SimulatedNode, effect: ContributionCounted) -> None:
        body, record = self.records[effect.study][effect.round_number]
        named = body.attempt == effect.attempt and record_hash(record) == effect.record
        if not named or not self._holds(body, node.index):
            self.fail(f"tells of round {effect.round_number} what its record does not say", node)
        self._told.add((node.index, effect.study, effect.round_number))

    def _on_certified(self, node: SimulatedNode, effect: RoundCertified) -> None:
        body, _ = self.records[effect.study][effect.round_number]
        told = (node.index, effect.study, effect.round_number) in self._told
        if self._holds(body, node.index) and not told:
            self.fail(f"hides that round {effect.round_number} counts its contribution", node)
        if effect.model_hash != model_name(self._models[effect.study][effect.round_number]):
            self.fail(f"has another model after round {effect.round_number}", node)

    def _on_finished(self, node: SimulatedNode, effect: StudyFinished) -> None:
        """What is on the disk is the model that the rounds come to, byte for byte."""
        model = b"".join(node.parcels.chunks(effect.model_hash))
        if model != self._models[effect.study][self._manifests[effect.study].rounds]:
            self.fail("holds another model than the study came to", node)

    # --- disks ----------------------------------------------------------------------------------

    def check_disk(self, node: SimulatedNode) -> None:
        """No secret outlives its attempt or record; call it between a live node's events."""
        if node.index in self._corrupt or node.machine is None:
            return
        open_scopes = {
            scope
            for state in node.machine.studies.values()
            if state.plan is not None
            for scope in (f"{state.plan.secret_scope}/", f"{state.plan.scope}/")
        }
        for key in node.disk:
            kind, study, *_ = key.split("/")
            ours = kind in ("secret", "round") and bytes.fromhex(study) in self._manifests
            if ours and not any(key.startswith(scope) for scope in open_scopes):
                self.fail(f"still holds {key}", node)
