"""An aggregator in masked mode: it holds masked vectors, and adds up those that count.

    offer of a vector -> pull it -> check what its header says -> receipt to its contributor
    request for a sum -> all vectors held -> add them up -> tell who asked

A masked vector hides its update from everybody, so an aggregator keeps no secret and decides
nothing: who asks for the sum of a set gets it, and checks it against the linear hashes that
contributors signed. A contributor uploads its vector once; aggregators pull it from each other.

What others can make it do is bounded: one vector for each contributor, one sum at a time, and few
sums of each group beyond those that honest members want. Which these are, it cannot tell before
more than f members have asked for the same one. So it makes a few for whoever asks, and no more on
the word of f members, however many sets they name and however often the process is started again.

Nothing that it pulled is removed before the round ends. Two contributors can name one
parcel, and who names another's must not take it from where it is needed. Only where the owner of
this node withdraws her own vector is gone at once, whoever else named it: honest contributors never
name another's, and nothing of it is to leave any more.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pnyx.errors import MalformedMessage, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.sampling import SEED_BYTES
from pnyx.protocol.aggregation.coefficients import Claim
from pnyx.protocol.aggregation.masked.checked_sum import HashChecker
from pnyx.protocol.aggregation.masked.checkpoints import name_earlier
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.chunks import Shape
from pnyx.protocol.events import Compute, ReadParcel, SumVectors
from pnyx.protocol.messages import (
    FalseVector,
    FalseVectorLength,
    HeldContribution,
    MaskedVector,
    RoundMessage,
    StatedHash,
    SumRequest,
    VectorOffer,
    VectorReceipt,
)
from pnyx.protocol.round.false_segments import first_false
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import InputReader, ascending
from pnyx.protocol.round.vector_sum import told_sum
from pnyx.protocol.round.vectors import (
    Accepted,
    accepted_hash,
    commitment_to,
    last_checkpoint,
    vector_statement,
    vouched_for,
    walk_of,
)

_STORED_BYTES_MAX = 64 * 1024
_HASTY = "summed/"


class _Asked(NamedTuple):
    """A set whose sum is wanted, and the members (census indices) that want it."""

    accepted: Accepted
    senders: set[int]


class _Checked(NamedTuple):
    """What shows that a vector is not what a contributor that named it says; None if it is."""

    parcel: bytes
    false: dict[int, FalseVector | None]


class _Stated(NamedTuple):
    """What a contributor says of its vector."""

    who: int
    claim: Claim
    masked: MaskedVector
    offer: VectorOffer


def _check(
    plan: RoundPlan,
    code: VectorCode,
    checker: HashChecker,
    parcel: bytes,
    data: bytes,
    stated: list[_Stated],
) -> _Checked:
    """Compare a vector with what is stated of it: nobody else will look at all of it.

    Where a receipt vouches for that (`vectors.vouched_for`), every checkpoint is compared, or who
    gave one could be convicted by a checkpoint that it never looked at. Else the linear hash of
    the whole is, by secret rows, a fifth of the work. Changes nothing but what the checker
    remembers, and one vector is checked at a time.
    """

    def seems_right(said: _Stated) -> bool:
        linear_hash = code.read_linear_hash(said.offer.linear_hash)
        try:
            return code.has_hash(checker, data, linear_hash)
        except MalformedMessage:
            return False

    def false(said: _Stated) -> FalseVector | None:
        if not vouched_for(plan) and seems_right(said):
            return None
        offer = said.offer
        checkpoints = (*offer.earlier, last_checkpoint(offer.linear_hash, said.masked))
        opened = first_false(walk_of(plan, said.claim), data, checkpoints)
        return None if opened is None else FalseVector(offer.header, checkpoints, opened)

    return _Checked(parcel, {said.who: false(said) for said in stated})


class Aggregator:
    """Masked vectors held for one attempt, by contributor."""

    def __init__(
        self,
        services: RoundServices,
        index: int,
        code: VectorCode,
        unreachable: Callable[[int], bool],
    ) -> None:
        self._services = services
        self._plan = services.plan
        self._others = tuple(each for each in self._plan.aggregators if each != index)
        self._index = index
        self._code = code
        self._unreachable = unreachable
        self._reader = InputReader(self._plan, services.crypto)
        self._offers: dict[int, VectorOffer] = {}
        self._checker: HashChecker | None = None  # from the first vector on
        self._sealed: set[int] = set()  # contributors whose vector is held and checked
        self._wrong: set[int] = set()  # contributors that committed to what their vector is not
        self._sources: dict[int, set[int]] = {}  # contributor -> from whom its vector is pulled
        self._reading: dict[bytes, set[int]] = {}  # to be checked -> contributors that named it
        self._checking: bytes | None = None  # the one of them that is being read or checked
        self._computing = False  # it was read, and is being checked
        self._withdrawn: bytes | None = None  # this node's own vector, once its owner withdrew
        self._asked: dict[bytes, _Asked] = {}  # by the hash of the set
        self._asked_at: dict[HeldContribution, float] = {}  # when others were asked for a vector
        # (member's census index, group) -> the sets that it asked for
        self._sets_of: dict[tuple[int, int], set[bytes]] = {}
        self._sums: dict[bytes, tuple[bytes, tuple[bytes, ...]]] = {}  # set -> as `on_summed`
        self._to_sum: dict[bytes, None] = {}  # sets whose sums are due, the first one first
        self._summing: bytes | None = None  # the one of them that is being added up
        self._hasty: dict[int, set[bytes]] = {}  # group -> sets added up on the word of few members
        self._restore()

    def _restore(self) -> None:
        """Take up what was receipted. A vector that the disk has lost is pulled once more."""
        for name, stored in sorted(self._services.restored.items()):
            if name.startswith(_HASTY):  # its sum takes room until the round is over
                group, summed = name.removeprefix(_HASTY).split("/")
                self._hasty.setdefault(int(group), set()).add(bytes.fromhex(summed))
            if name.startswith("vector/"):
                self._take_up(codec.decode(stored, VectorOffer, bytes_max=_STORED_BYTES_MAX))

    def _take_up(self, offer: VectorOffer) -> None:
        who = self._reader.header(offer.header).contributor
        self._offers[who] = offer
        with suppress(ProtocolError):  # no room: as if it had never come
            self._pull(who, who, lambda _: self._hold(who))

    def handle(self, sender: int, message: RoundMessage, now: float) -> None:
        """Take an offer or a request. Raises ProtocolError."""
        match message:
            case VectorOffer():
                self._on_offer(sender, message)
            case SumRequest():
                self._on_request(sender, message, now)
            case _:
                return

    # --- vectors ----------------------------------------------------------------------------------

    def _on_offer(self, sender: int, offer: VectorOffer) -> None:
        header = self._reader.header(offer.header)
        who, masked = header.contributor, header.masked
        if sender != who and sender not in self._plan.aggregators:
            raise RuleBroken(
                "a masked vector is offered by neither its contributor nor aggregators"
            )
        stated = _stated_hash(offer)
        if masked is None or masked.commitment != commitment_to(self._plan.context, stated, masked):
            raise RuleBroken("a linear hash is not the one that its contributor committed to")
        if len(offer.earlier) != self._code.segments - 1:
            raise RuleBroken("a vector has another number of segments than there are checkpoints")
        self._code.read_linear_hash(offer.linear_hash)
        if masked.parcel == self._withdrawn:
            return  # what others have of it does not come back here
        known = self._offers.setdefault(who, offer)
        if known.header != offer.header:
            raise RuleBroken("a contributor showed two different contributions")
        if who in self._wrong:
            raise RuleBroken("a masked vector is offered again that was seen to be wrong")
        if who not in self._sealed:
            self._pull(who, sender, lambda parcel: self._read(who, parcel))
        elif sender == who:
            self._give_receipt(who)

    def _pull(self, who: int, sender: int, done: Callable[[bytes], None]) -> None:
        """Pull a vector from whoever offers it, its contributor, and the other aggregators."""
        reachable = [index for index in self._others if not self._unreachable(index)]
        sources = tuple(dict.fromkeys([sender, who, *reachable]))
        known = self._sources.get(who, set())
        if known.issuperset(sources):
            return  # under way: offered again, it costs nothing
        self._services.fetch_parcel(
            self._parcel_of(who),
            self._code.vector_bytes,
            sources,
            done,
            lambda shape: self._refuse(who, shape),
        )
        self._sources[who] = known.union(sources)

    def _read(self, who: int, parcel: bytes) -> None:
        """A vector has come whole: read it to check its linear hash, once it is its turn."""
        self._reading.setdefault(parcel, set()).add(who)
        self._read_next()

    def _read_next(self) -> None:
        """Read one vector at a time: however many come, one is in memory."""
        if self._checking is None and self._reading:
            self._checking = next(iter(self._reading))
            self._services.emit(ReadParcel(self._plan.context, self._checking))

    def forget(self, vector: bytes) -> None:
        """This node's own vector is not here any more: its owner withdrew.

        Whoever else named its parcel is not waited for either.
        """
        self._withdrawn = vector
        self._reading.pop(vector, None)
        self._sealed -= {who for who in self._offers if self._parcel_of(who) == vector}
        if self._checking == vector and not self._computing:  # else its check ends, for nothing
            self._checking = None
            self._read_next()

    def on_read(self, parcel: bytes, data: bytes) -> None:
        """Have a vector that has come checked, beside everything else."""
        if parcel != self._checking or parcel not in self._reading:
            return
        stated = [
            _Stated(who, self._reader.claim(offer.header), masked, offer)
            for who in sorted(self._reading.pop(parcel) - self._sealed)
            for offer in (self._offers[who],)
            if (masked := self._reader.header(offer.header).masked) is not None
        ]
        if self._checker is None:
            self._checker = self._code.checker(self._services.sampler.bytes(SEED_BYTES))
        self._computing = True
        work = partial(_check, self._plan, self._code, self._checker, parcel, data, stated)
        self._services.emit(Compute(self._plan.context, b"vector" + parcel, work))

    def on_computed(self, result: object) -> None:
        """Give receipts for a vector that was checked, or accuse who stated something else."""
        if not isinstance(result, _Checked) or result.parcel != self._checking:
            return
        self._checking, self._computing = None, False
        if result.parcel != self._withdrawn:
            for who, false in result.false.items():
                self._take(who, result.parcel, false)
        self._read_next()

    def _take(self, who: int, parcel: bytes, false: FalseVector | None) -> None:
        if false is not None:
            self._wrong.add(who)
            self._services.accuse(who, false)
            return
        # What is granted is durable before the vector counts as held: nobody grants it later.
        self._services.grant_parcel(parcel, self._others)
        self._services.persist(f"vector/{who}", codec.encode(self._offers[who]))
        for index in self._others:
            self._services.send(index, self._offers[who])
        self._give_receipt(who)
        self._hold(who)

    def _refuse(self, who: int, shape: Shape) -> None:
        """The header names a parcel of another length than vectors have: its signer lied."""
        if who not in self._wrong:
            self._wrong.add(who)
            header = self._offers[who].header
            self._services.accuse(who, FalseVectorLength(header, shape.length, shape.root))

    def _hold(self, who: int) -> None:
        """A vector is here: add up the sets that waited for it."""
        self._sealed.add(who)
        for name in self._asked:
            self._sum(name)

    def _give_receipt(self, who: int) -> None:
        name = self._reader.name(self._offers[who].header)
        statement = vector_statement(self._plan.context, self._index, name)
        signature = self._services.crypto.sign(statement)
        receipt = VectorReceipt(self._plan.context, self._index, name, signature)
        self._services.send(who, receipt)

    # --- sums -------------------------------------------------------------------------------------

    def _on_request(self, sender: int, request: SumRequest, now: float) -> None:
        among_us = sender in self._others
        if sender not in self._plan.member_of and not among_us:
            raise RuleBroken(
                "the sum of masked vectors is asked for by neither member nor aggregator"
            )
        who = [held.contributor for held in request.accepted]
        if not who or not ascending(who) or not self._plan.contributor_set.issuperset(who):
            raise RuleBroken("a sum is asked for out of order, or over nodes that were not drawn")
        groups = {self._plan.group_of[index] for index in who}
        if len(groups) > 1:
            raise RuleBroken("a sum is asked for over contributors of several groups")
        name = accepted_hash(self._plan.context, request.accepted)
        if among_us:
            for held in request.accepted:  # it asks for what a member says: that may be invented
                if self._holds(held):
                    self._services.send(sender, self._offers[held.contributor])
            if name not in self._asked:
                return  # it may be a member too: then what it passes on is not what it wants
        else:
            self._refuse_others(request.accepted)
            self._count(sender, groups.pop(), name)
        if sender in self._plan.member_of:
            self._want(sender, name, request.accepted, now)

    def _refuse_others(self, accepted: Accepted) -> None:
        """Refuse a set that can never be added up here: one with other headers than are known.

        Nobody is asked for such vectors, as they would be refused. Raises RuleBroken.
        """
        for held in accepted:
            offer = self._offers.get(held.contributor)
            if offer is not None and self._reader.name(offer.header) != held.header_hash:
                raise RuleBroken("a sum is asked for over another contribution than was offered")

    def _count(self, member: int, group: int, name: bytes) -> None:
        """Bound what one member makes this node add up. Raises RuleBroken."""
        asked = self._sets_of.setdefault((member, group), set())
        limit = self._services.params.summed_sets_max
        if name not in asked and len(asked) >= limit:
            raise RuleBroken(f"a member asks for the sums of more than {limit} sets of one group")
        asked.add(name)

    def _want(self, sender: int, name: bytes, accepted: Accepted, now: float) -> None:
        """Tell a member the sum of a set, now or once all vectors are here."""
        self._asked.setdefault(name, _Asked(accepted, set())).senders.add(sender)
        if name in self._sums:
            self._tell(sender, name, *self._sums[name])
            return
        self._sum(name)
        self._ask_others(self._missing(accepted), now)

    def _ask_others(self, missing: Accepted, now: float) -> None:
        """Ask the other aggregators for vectors, for each one once in a while.

        However often members ask, and for whatever sets: what the others answer, they count as
        this node's.
        """
        before = now - self._services.params.retransmit_s
        asked = tuple(held for held in missing if self._asked_at.get(held, before) <= before)
        self._asked_at.update(dict.fromkeys(asked, now))
        for index in self._others if asked else ():
            self._services.send(index, SumRequest(self._plan.context, asked))

    def _sum(self, name: bytes) -> None:
        """Add up a set, once, if all its vectors are held; when it is its turn."""
        if name in self._sums or name == self._summing or name in self._to_sum:
            return
        if self._missing(self._asked[name].accepted):
            return
        if self._is_due(name):
            self._to_sum[name] = None
            self._sum_next()

    def _is_due(self, name: bytes) -> bool:
        """Whether an honest member wants a sum, or there are few yet that perhaps none wants."""
        if self._vouched(name):
            return True
        group = self._plan.group_of[self._asked[name].accepted[0].contributor]
        hasty = self._hasty.setdefault(group, set())
        if name in hasty:
            return True
        unvouched = sum(not self._vouched(each) for each in hasty)
        if unvouched >= self._services.params.unvouched_sums_max:
            return False
        hasty.add(name)
        self._services.persist(f"{_HASTY}{group}/{name.hex()}", b"")
        return True

    def _vouched(self, name: bytes) -> bool:
        """Whether this node's member asked for a set, or so many that one of them is honest."""
        asked = self._asked.get(name)
        if asked is None:
            return False
        return self._index in asked.senders or len(asked.senders) > self._plan.size.corrupt_max

    def _sum_next(self) -> None:
        """Have one set added up at a time, where there is room; else it is asked for again."""
        while self._summing is None and self._to_sum:
            name = next(iter(self._to_sum))
            del self._to_sum[name]
            accepted = self._asked[name].accepted
            if not self._missing(accepted) and self._has_room():
                self._summing = name
                self._services.emit(
                    SumVectors(
                        self._plan.context,
                        name,
                        tuple(self._parcel_of(held.contributor) for held in accepted),
                        self._code.parameters,
                        self._code.summed_hash(
                            [self._offers[held.contributor].linear_hash for held in accepted]
                        ),
                    )
                )

    def _has_room(self) -> bool:
        try:
            self._services.make_room(self._code.sum_bytes)
        except RuleBroken:
            return False
        return True

    def _missing(self, accepted: Accepted) -> Accepted:
        return tuple(held for held in accepted if not self._holds(held))

    def _holds(self, held: HeldContribution) -> bool:
        who, name = held.contributor, held.header_hash
        return who in self._sealed and self._reader.name(self._offers[who].header) == name

    def _parcel_of(self, who: int) -> bytes:
        masked = self._reader.header(self._offers[who].header).masked
        assert masked is not None, "an offer that was taken names its vector"
        return masked.parcel

    def on_summed(self, name: bytes, parcel: bytes, earlier: tuple[bytes, ...]) -> None:
        """The shell has added up a set. earlier: checkpoints of the sum, but for the last."""
        self._sums[name] = parcel, earlier
        for sender in sorted(self._asked[name].senders):
            self._tell(sender, name, parcel, earlier)
        self._end_sum(name)

    def on_summing_failed(self, name: bytes) -> None:
        """The shell could not: whoever wants the sum asks again."""
        self._end_sum(name)

    def _end_sum(self, name: bytes) -> None:
        if name == self._summing:
            self._summing = None
            self._sum_next()

    def _tell(self, sender: int, name: bytes, parcel: bytes, earlier: tuple[bytes, ...]) -> None:
        self._services.grant_parcel(parcel, (sender,))
        hashes = self._hashes_of(self._asked[name].accepted)
        told = told_sum(self._services, self._code, name, parcel, hashes, earlier)
        self._services.send(sender, told)

    def _hashes_of(self, accepted: Accepted) -> tuple[StatedHash, ...]:
        return tuple(_stated_hash(self._offers[held.contributor]) for held in accepted)


def _stated_hash(offer: VectorOffer) -> StatedHash:
    """What members are shown of an offer."""
    return StatedHash(offer.linear_hash, name_earlier(offer.earlier))
