"""What a committee member holds for others in one attempt: contributions and dealings.

A contribution is receipted only once its share is decrypted, matches the header's commitment and is
stored durably. After the member has stopped (its close vote), further contributions are kept
without a receipt: they count only if other members' votes put them on the closed list. Before the
member answers for such a share it is stored too: whoever answered is relied upon to release.
"""

from collections.abc import Callable
from contextlib import suppress

from pnyx.errors import MalformedMessage, ProtocolError, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest, verify_merkle_proof
from pnyx.protocol import beacon
from pnyx.protocol.aggregation.payloads import Opener
from pnyx.protocol.aggregation.verification import FieldShares
from pnyx.protocol.messages import (
    Contribution,
    Dealing,
    DealingShares,
    HeldContribution,
    MerkleProof,
    OpenedPayload,
    OpenedShare,
    RoundKey,
    Signed,
    VectorReceipt,
)
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import InputReader
from pnyx.protocol.round.vectors import check_receipt, check_receipts

_STORED_BYTES_MAX = 1024 * 1024


def share_info(context: bytes, contributor: int, member: int) -> bytes:
    """What a contribution's envelope is bound to."""
    return b"pnyx/share" + context + contributor.to_bytes(4, "big") + member.to_bytes(4, "big")


def dealing_info(context: bytes, dealer: int, member: int) -> bytes:
    """What a dealing's envelope is bound to."""
    return b"pnyx/dealing" + context + dealer.to_bytes(4, "big") + member.to_bytes(4, "big")


def receipt_statement(context: bytes, member: int, name: bytes) -> bytes:
    """Bytes that a receipt signs."""
    return b"pnyx/receipt/" + digest("pnyx/receipt", context, member.to_bytes(4, "big"), name)


class Holdings:
    """Shares held by one member, checked on arrival and durable before they are receipted."""

    def __init__(
        self,
        services: RoundServices,
        reader: InputReader,
        member: int,
        private_key: bytes,
        on_unreadable: Callable[[int, Signed, OpenedPayload], None],
    ) -> None:
        self._services = services
        self._reader = reader
        self._plan: RoundPlan = services.plan
        self._member = member
        self._private_key = private_key
        self.shares: dict[bytes, FieldShares] = {}  # header hash -> this member's share
        self._late: dict[bytes, Contribution] = {}  # kept without a receipt, and not yet stored
        self._openers: dict[bytes, tuple[Opener, MerkleProof]] = {}  # what opens a share
        self._on_unreadable = on_unreadable
        self.headers: dict[int, Signed] = {}  # contributor -> first header seen
        # contributor -> the first header that a receipt verifies for, and these by aggregator
        self._vouchers: dict[int, tuple[bytes, dict[int, VectorReceipt]]] = {}
        self.receipted: dict[int, bytes] = {}  # contributor -> header hash
        self.next_shares: dict[int, OpenedShare] = {}
        self.challenge_shares: dict[int, OpenedShare] = {}

    def restore(self, opened: bytes, keys: dict[int, RoundKey]) -> None:
        """Read back what was stored before a restart."""
        for name, value in sorted(self._services.restored.items()):
            if name.startswith("envelope/"):
                contribution = codec.decode(value, Contribution, bytes_max=_STORED_BYTES_MAX)
                self.add_contribution(contribution, opened, receipt=True)
            elif name.startswith("late/"):
                contribution = codec.decode(value, Contribution, bytes_max=_STORED_BYTES_MAX)
                self.add_contribution(contribution, opened, receipt=False)
            elif name.startswith("dealing/"):
                self.add_dealing(codec.decode(value, Dealing, bytes_max=_STORED_BYTES_MAX), keys)

    def add_contribution(self, message: Contribution, opened: bytes, *, receipt: bool) -> bytes:
        """Check and keep a share; store it durably if it is to be receipted.

        Returns the header hash. Raises ProtocolError when anything is wrong, RuleBroken when the
        contributor has shown a different header before.
        """
        header = self._reader.header(message.header)
        if header.open_value != opened:
            raise RuleBroken("a contribution was sealed to another list of round keys")
        name = self._reader.name(message.header)
        who = header.contributor
        if header.masked is not None and name not in self.shares:
            self._note(who, name, message.receipts)
            seen = self.vouchers(who, name)
            check_receipts(self._plan, self._services.crypto, message.receipts, name, seen)
        if self.headers.setdefault(who, message.header) != message.header:
            raise RuleBroken("a contributor showed two different contributions")
        if name not in self.shares:
            if message.share.member != self._member:
                raise RuleBroken("a share is addressed to another member")
            payload = self._services.crypto.open_envelope(
                self._private_key,
                message.share.sealed,
                share_info(self._plan.context, who, self._member),
            )
            if not verify_merkle_proof(
                header.shares_root, payload, self._member, self._plan.size.size, message.share.proof
            ):
                raise RuleBroken("a share is not the one its contributor committed to")
            phase = self._plan.phase
            if phase is None:
                raise RuleBroken("this round takes no contributions")
            try:
                self.shares[name] = self._reader.share(message.header, self._member, payload)
            except MalformedMessage:
                in_clear = OpenedPayload(self._member, payload, message.share.proof)
                self._on_unreadable(who, message.header, in_clear)
                raise
            opener = Opener(payload, phase.bounds, self._plan.size, self._member)
            self._openers[name] = opener, message.share.proof
        if receipt and who not in self.receipted:
            stored = f"envelope/{who}"
            if stored not in self._services.restored:
                self._services.persist_secret(stored, codec.encode(message))
            self.receipted[who] = name
        elif who not in self.receipted:
            self._late[name] = message
        return name

    def _note(self, contributor: int, name: bytes, receipts: tuple[VectorReceipt, ...]) -> None:
        """Remember who vouches for the first header of a contributor that anybody vouched for.

        Only what verifies is kept: garbage in an aggregator's name must not stand where its
        receipt belongs, nor garbage for another header take the place of this one.
        """
        header, known = self._vouchers.get(contributor, (name, {}))
        if header != name:
            return
        for receipt in receipts:
            if receipt.aggregator in known:
                continue
            with suppress(ProtocolError):
                check_receipt(self._plan, self._services.crypto, receipt, name)
                known[receipt.aggregator] = receipt
        if known:
            self._vouchers[contributor] = header, known

    def vouchers(self, contributor: int, name: bytes) -> tuple[VectorReceipt, ...]:
        """Receipts of aggregators for a header's masked vector that were seen here, and verify."""
        header, known = self._vouchers.get(contributor, (b"", {}))
        return tuple(known.values()) if header == name else ()

    def store_late(self, contributor: int, header: Signed) -> None:
        """Make durable a share that was kept without a receipt, before it is answered for."""
        message = self._late.pop(self._reader.name(header), None)
        stored = f"late/{contributor}"
        if message is not None and stored not in self._services.restored:
            self._services.persist_secret(stored, codec.encode(message))

    def add_dealing(self, message: Dealing, keys: dict[int, RoundKey]) -> None:
        """Check and keep a dealer's shares. Raises ProtocolError."""
        key = keys.get(message.dealer)
        if key is None or message.dealer not in beacon.dealers_of(keys, self._plan.size):
            raise RuleBroken("a dealing comes from a member that is no dealer")
        if message.dealer in self.next_shares:
            return
        info = dealing_info(self._plan.context, message.dealer, self._member)
        plaintext = self._services.crypto.open_envelope(self._private_key, message.sealed, info)
        shares = codec.decode(plaintext, DealingShares, bytes_max=_STORED_BYTES_MAX)
        size = self._plan.size
        wanted = [(key.next_dealing, shares.following)]
        if self._plan.phase is not None:
            wanted.append((key.challenge_dealing, shares.challenge))
        for root, opened in wanted:
            if opened.dealer != message.dealer:
                raise RuleBroken("a dealing speaks for another dealer")
            if not beacon.share_matches(root, opened, self._member, size):
                raise RuleBroken("a dealt share is not the one its dealer committed to")
        name = f"dealing/{message.dealer}"
        if name not in self._services.restored:
            self._services.persist_secret(name, codec.encode(message))
        self.next_shares[message.dealer] = shares.following
        if self._plan.phase is not None:
            self.challenge_shares[message.dealer] = shares.challenge

    def erase(self) -> None:
        """Forget the round key and every share, once this member has released."""
        self._private_key = b""
        self._late.clear()
        self.shares.clear()
        self._openers.clear()
        self.next_shares.clear()
        self.challenge_shares.clear()

    def held(self) -> tuple[HeldContribution, ...]:
        """Receipted contributions, for the close vote."""
        return tuple(HeldContribution(who, name) for who, name in sorted(self.receipted.items()))

    def opened(self, header: Signed) -> OpenedPayload | None:
        """This member's share in the clear, as evidence; None if it holds none."""
        name = self._reader.name(header)
        share = self.shares.get(name)
        if share is None:
            return None
        opener, proof = self._openers[name]
        phase = self._plan.phase
        if phase is None:
            return None
        payload = opener.payload(share, phase.bounds, self._plan.size)
        return OpenedPayload(self._member, payload, proof)

    def share_of(self, header: Signed) -> FieldShares | None:
        """This member's share of a contribution on the closed list."""
        return self.shares.get(self._reader.name(header))
