"""An aggregator in masked mode: it holds masked vectors, and adds up those that count.

    offer of a vector -> pull it -> check its linear hash -> receipt to its contributor
    request for a sum -> all vectors held -> add them up -> tell who asked

A masked vector hides its update from everybody, so an aggregator keeps no secret and decides
nothing: who asks for the sum of a set gets it, and checks it against the linear hashes that
contributors signed. A contributor uploads its vector once; aggregators pull it from each other.
"""

from collections.abc import Callable

from pnyx.errors import RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.events import PeerBlamed, ReadParcel, SumVectors
from pnyx.protocol.messages import (
    HeldContribution,
    RoundMessage,
    SumRequest,
    VectorOffer,
    VectorReceipt,
    VectorSum,
)
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import InputReader, ascending, header_hash
from pnyx.protocol.round.vectors import (
    Accepted,
    accepted_hash,
    linear_hash_name,
    vector_statement,
)

_STORED_BYTES_MAX = 64 * 1024


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
        self._index = index
        self._code = code
        self._unreachable = unreachable
        self._reader = InputReader(self._plan, services.crypto)
        self._offers: dict[int, VectorOffer] = {}
        self._sealed: set[int] = set()  # contributors whose vector is held and checked
        self._reading: dict[bytes, int] = {}  # parcel -> contributor
        self._asked: dict[bytes, tuple[Accepted, set[int]]] = {}  # set -> (list, who asked)
        self._sums: dict[bytes, bytes] = {}  # set -> parcel; empty while it is computed
        for name, stored in sorted(services.restored.items()):
            if name.startswith("vector/"):
                offer = codec.decode(stored, VectorOffer, bytes_max=_STORED_BYTES_MAX)
                contributor = self._reader.header(offer.header).contributor
                self._offers[contributor] = offer
                self._sealed.add(contributor)

    def handle(self, sender: int, message: RoundMessage) -> None:
        """Take an offer or a request. Raises ProtocolError."""
        match message:
            case VectorOffer():
                self._on_offer(sender, message)
            case SumRequest():
                self._on_request(sender, message)
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
        if masked is None or masked.linear_hash != linear_hash_name(
            self._plan.context, offer.linear_hash
        ):
            raise RuleBroken("a linear hash is not the one that its contributor committed to")
        self._code.read_linear_hash(offer.linear_hash)
        known = self._offers.setdefault(who, offer)
        if known.header != offer.header:
            raise RuleBroken("a contributor showed two different contributions")
        if who in self._sealed:
            self._give_receipt(who)
            return
        others = [index for index in self._plan.aggregators if index != self._index]
        sources = [sender, who, *(index for index in others if not self._unreachable(index))]
        self._services.fetch_parcel(
            masked.parcel,
            self._code.vector_bytes,
            tuple(dict.fromkeys(sources)),
            lambda parcel: self._read(who, parcel),
        )

    def _read(self, who: int, parcel: bytes) -> None:
        """A vector has come whole: read it to check its linear hash."""
        self._reading[parcel] = who
        self._services.emit(ReadParcel(self._plan.context, parcel))

    def on_read(self, parcel: bytes, data: bytes) -> None:
        """Check a vector that has come, and give its contributor a receipt."""
        who = self._reading.pop(parcel, None)
        if who is None or who in self._sealed:
            return
        offer = self._offers[who]
        if self._code.linear_hash(data) != offer.linear_hash:
            node = offer.header.signer
            self._services.emit(
                PeerBlamed(node, "committed to another linear hash than its vector's")
            )
            self._services.forget_parcel(parcel)
            return
        self._sealed.add(who)
        self._services.persist(f"vector/{who}", codec.encode(offer))
        others = tuple(index for index in self._plan.aggregators if index != self._index)
        self._services.grant_parcel(parcel, others)
        for index in others:
            self._services.send(index, offer)
        self._give_receipt(who)
        for name in list(self._asked):
            self._sum(name)

    def _give_receipt(self, who: int) -> None:
        name = header_hash(self._offers[who].header)
        statement = vector_statement(self._plan.context, self._index, name)
        signature = self._services.crypto.sign(statement)
        receipt = VectorReceipt(self._plan.context, self._index, name, signature)
        self._services.send(who, receipt)

    # --- sums -------------------------------------------------------------------------------------

    def _on_request(self, sender: int, request: SumRequest) -> None:
        among_us = sender in self._plan.aggregators and sender != self._index
        if sender not in self._plan.member_of and not among_us:
            raise RuleBroken(
                "the sum of masked vectors is asked for by neither member nor aggregator"
            )
        who = [held.contributor for held in request.accepted]
        if not who or not ascending(who) or not self._plan.contributor_set.issuperset(who):
            raise RuleBroken("a sum is asked for out of order, or over nodes that were not drawn")
        if among_us:
            for index in self._sealed.intersection(who):
                self._services.send(sender, self._offers[index])
        if sender not in self._plan.member_of:
            return
        name = accepted_hash(self._plan.context, request.accepted)
        if name not in self._asked:
            self._drop_sets_of(sender)
            self._asked[name] = request.accepted, set()
        self._asked[name][1].add(sender)
        self._sum(name)

    def _drop_sets_of(self, sender: int) -> None:
        """A member asks for one set at a time: honest ones ask for the one that is fixed."""
        for name, (_, askers) in list(self._asked.items()):
            askers.discard(sender)
            if not askers:
                del self._asked[name]

    def _sum(self, name: bytes) -> None:
        """Add up a set once all its vectors are held; ask other aggregators for those missing."""
        accepted, askers = self._asked[name]
        parcel = self._sums.get(name)
        if parcel:
            for sender in askers:
                self._tell(sender, name, parcel)
            return
        if parcel is not None:
            return
        missing = [h.contributor for h in accepted if not self._holds(h)]
        if missing:
            for index in self._plan.aggregators:
                if index != self._index:
                    self._services.send(index, SumRequest(self._plan.context, accepted))
            return
        self._sums[name] = b""
        self._services.emit(
            SumVectors(
                self._plan.context,
                name,
                tuple(self._parcel_of(held.contributor) for held in accepted),
                self._code.parameters,
            )
        )

    def _holds(self, held: HeldContribution) -> bool:
        who = held.contributor
        return who in self._sealed and header_hash(self._offers[who].header) == held.header_hash

    def _parcel_of(self, who: int) -> bytes:
        masked = self._reader.header(self._offers[who].header).masked
        if masked is None:
            raise ValueError("an offer that was taken names its vector")
        return masked.parcel

    def on_summed(self, name: bytes, parcel: bytes) -> None:
        """The shell has added up a set."""
        self._sums[name] = parcel
        if name in self._asked:
            self._sum(name)

    def _tell(self, sender: int, name: bytes, parcel: bytes) -> None:
        self._services.grant_parcel(parcel, (sender,))
        hashes = tuple(self._offers[h.contributor].linear_hash for h in self._asked[name][0])
        self._services.send(sender, VectorSum(self._plan.context, name, parcel, hashes))
