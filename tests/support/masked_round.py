"""One masked round's plan with every key, vector and receipt at hand."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from msgspec.structs import replace
from tests.support.committee import Committee, Outbox
from tests.support.town import SMALL, masked_phase, verified_phase

from pnyx.primitives.hashing import digest, merkle_commit, merkle_root
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.masked.checkpoints import checkpoint, commit_all, name_earlier
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode, sum_vectors
from pnyx.protocol.aggregation.masked_verification.proof import prove_masked
from pnyx.protocol.aggregation.masked_verification.sketch import offset_of
from pnyx.protocol.chunks import chunk_hash, chunks_of, describe
from pnyx.protocol.messages import (
    FalseVector,
    HeldContribution,
    MaskedVector,
    OpenedSegment,
    Signed,
    SketchProof,
    StatedHash,
    SumRequest,
    VectorOffer,
    VectorReceipt,
    VectorSum,
    WrongSum,
)
from pnyx.protocol.round.false_segments import Progress, Walk
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import contribution_context, header_hash
from pnyx.protocol.round.vectors import (
    Accepted,
    accepted_hash,
    sum_statement,
    vector_code,
    vector_statement,
)
from pnyx.protocol.selection import CommitteeSize

LENGTH = 6
AGGREGATORS = (8, 9, 0)  # two that are nothing else, and member 0


def parcel_of(data: bytes) -> bytes:
    """The name of the parcel with these bytes."""
    return describe(chunks_of(data)).name


def open_at(walk: Walk, data: bytes, segment: int) -> OpenedSegment:
    """One segment of a vector, or of a sum, with what is true of those before it."""
    before = Progress()
    for at, (start, size) in enumerate(walk.places[:segment]):
        before = walk.step(before, at, data[start : start + size])
    cut = tuple(chunks_of(data))
    root, proofs = merkle_commit([chunk_hash(each) for each in cut])
    shown = walk.chunks(segment)
    chunks, paths = [cut[at] for at in shown], [proofs[at] for at in shown]
    return OpenedSegment(segment, *before, root, tuple(chunks), tuple(paths))


def open_all(data: bytes) -> OpenedSegment:
    """All of a vector, or of a sum, of one segment."""
    cut = tuple(chunks_of(data))
    root, proofs = merkle_commit([chunk_hash(each) for each in cut])
    return OpenedSegment(0, b"", b"", root, cut, tuple(proofs))


class MaskedCommittee(Committee):
    """Seven members, six contributors whose updates are masked, three aggregators, ten nodes."""

    def __init__(
        self,
        study: bytes = b"s" * 32,
        size: CommitteeSize = SMALL,
        *,
        verified: bool = False,
        entries: int = LENGTH,
        **terms,
    ) -> None:
        chosen = verified_phase(entries) if verified else masked_phase(entries, **terms)
        self.entries = entries
        super().__init__(count=10, size=size, phase_=chosen, length=1)
        plan = self.plan
        self.plan = RoundPlan(
            census=plan.census,
            study=study,
            round_number=1,
            epoch=0,
            previous_record=plan.previous_record,
            model_hash=plan.model_hash,
            committee=plan.committee,
            contributors=plan.contributors,
            aggregators=AGGREGATORS,
            phase=plan.phase,
            cohort_min=terms.get("cohort_min", 3),
        )
        self.reader = type(self.reader)(self.plan, self.folk.cryptos[0])
        code = vector_code(self.plan)
        assert code is not None
        self.code: VectorCode = code
        self._masked: dict[int, MaskedUpdate] = {}
        self._sketches: dict[bytes, SketchProof] = {}  # by the root of payloads
        self._earlier: dict[bytes, tuple[bytes, ...]] = {}  # P·y before the end, by the salt

    # --- vectors --------------------------------------------------------------------------------

    def update(self, index: int) -> np.ndarray:
        """What a contributor masks."""
        vector = np.zeros(self.entries, dtype=np.int64)
        vector[index % LENGTH] = 1
        return vector

    def masked(self, index: int) -> MaskedUpdate:
        """A contributor's masked update."""
        if index not in self._masked:
            seed, context = digest("mask", bytes((index,))), self._context_of(index)
            self._masked[index] = self.code.mask(self.update(index), seed, context)
        return self._masked[index]

    def _context_of(self, index: int) -> bytes:
        return contribution_context(self.plan.context, index)

    def vector(self, index: int) -> bytes:
        """The bytes that a contributor's parcel carries."""
        return b"".join(self.masked(index).segments)

    def total(self, indices: Sequence[int]) -> bytes:
        """The sum of vectors, as aggregators make it."""
        parts = [iter(self.masked(index).segments) for index in indices]
        return b"".join(sum_vectors(self.code.parameters, parts))

    def payloads(self, index: int, vector: np.ndarray | None = None, seed: int = 0) -> list[bytes]:
        """Shares of one count, and of the key."""
        return super().payloads(index, np.ones(1, dtype=np.int64) if vector is None else vector)

    def _prove(self, vector: np.ndarray, seed: bytes, index: int) -> verification.Proven:
        known = (vector.tobytes(), seed, index)
        if known not in self._made:
            self._made[known] = self._proven(vector, seed, index)
        return self._made[known]

    def _proven(self, vector: np.ndarray, seed: bytes, index: int) -> verification.Proven:
        masked, context = self.masked(index), self._context_of(index)
        bounds = self.plan.phase.masked_bounds
        if bounds is None:
            return verification.prove(vector, self.bounds, self.size, seed, context, masked.key)
        made = prove_masked(
            masked.hidden,
            masked.key[0],
            parcel_of(self.vector(index)),
            vector,
            bounds,
            self.bounds,
            self.size,
            seed,
            context,
            vector=masked.blocks,
            offset=offset_of(self.code.parameters),
            every=self.code.blocks_before(1),
        )
        proof = SketchProof(made.key_root, made.salt, made.sketch)
        self._earlier[made.salt] = made.sketches[:-1]
        self._sketches[merkle_root(made.payloads)] = proof
        return verification.Proven(made.payloads, made.published)

    def header(self, index: int, payloads: Sequence[bytes] | None = None, **changes) -> Signed:
        """The signed header of a contribution that names its masked vector."""
        payloads = self.payloads(index) if payloads is None else payloads
        proof = self._sketches.get(merkle_root(payloads))
        vector = self.says(index, proof)
        return super().header(index, payloads, **{"masked": vector, **changes})

    def says(
        self, index: int, proof: SketchProof | None = None, hashed: int | None = None
    ) -> MaskedVector:
        """What a header says of a masked vector. hashed: whose linear hash it states."""
        linear_hashes = self.masked(index if hashed is None else hashed).linear_hashes
        committed = commit_all(self.plan.context, self.checkpoints(linear_hashes, proof))
        return MaskedVector(parcel_of(self.vector(index)), committed, proof)

    def checkpoints(
        self, linear_hashes: Sequence[bytes], proof: SketchProof | None = None
    ) -> tuple[bytes, ...]:
        """All checkpoints of a vector, by its linear hash after each segment."""
        if proof is None:
            return tuple(map(checkpoint, linear_hashes))
        sketches = (*self._earlier[proof.salt], proof.sketch)
        return tuple(map(checkpoint, linear_hashes, sketches))

    def checkpoints_of(self, index: int, header: Signed | None = None) -> tuple[bytes, ...]:
        """All checkpoints of a contributor's vector, as a header of its own commits to them."""
        header = self.header(index) if header is None else header
        proof = self.reader.header(header).masked.proof
        return self.checkpoints(self.masked(index).linear_hashes, proof)

    def false(self, header: Signed, index: int, vector: bytes | None = None) -> FalseVector:
        """What shows all of a vector, by default the contributor's, against a header."""
        data = self.vector(index) if vector is None else vector
        return FalseVector(header, self.checkpoints_of(index, header), open_all(data))

    def offer(self, index: int, **changes) -> VectorOffer:
        """What a contributor, or an aggregator, says of a masked vector."""
        terms = self.header(index), self.masked(index).linear_hash, self.checkpoints_of(index)[:-1]
        return replace(VectorOffer(self.plan.context, *terms), **changes)

    def receipt(
        self, aggregator: int, header: Signed, signer: int | None = None, **changes
    ) -> VectorReceipt:
        """An aggregator's receipt, or one that somebody else signed."""
        name = header_hash(header)
        statement = vector_statement(self.plan.context, aggregator, name)
        crypto = self.folk.cryptos[aggregator if signer is None else signer]
        receipt = VectorReceipt(self.plan.context, aggregator, name, crypto.sign(statement))
        return replace(receipt, **changes)

    # --- sums -----------------------------------------------------------------------------------

    def accepted(self, *indices: int) -> Accepted:
        """A set as requests name it."""
        return tuple(HeldContribution(i, header_hash(self.header(i))) for i in indices)

    def request(self, *indices: int) -> SumRequest:
        """What a member asks for."""
        return SumRequest(self.plan.context, self.accepted(*indices))

    def name_of(self, *indices: int) -> bytes:
        """The hash of a set."""
        return accepted_hash(self.plan.context, self.accepted(*indices))

    def told(self, *indices: int, teller: int = AGGREGATORS[0], **changes) -> VectorSum:
        """What an honest aggregator answers; what is changed is signed as well."""
        parcel = parcel_of(self.total(indices))
        summed = self.code.linear_hashes_of_sum(self.total(indices), len(indices))
        earlier = self.checkpoints(summed[:-1])
        terms = self.plan.context, self.name_of(*indices), parcel, self.stated(*indices), earlier
        return self.signed_sum(replace(VectorSum(*terms, b""), **changes), teller)

    def stated(self, *indices: int) -> tuple[StatedHash, ...]:
        """The linear hashes of vectors, as members are shown them."""
        return tuple(
            StatedHash(
                self.masked(index).linear_hash, name_earlier(self.checkpoints_of(index)[:-1])
            )
            for index in indices
        )

    def summed(self, told: VectorSum) -> bytes:
        """The linear hash that a sum should have, by those that came with it."""
        return self.code.summed_hash([each.linear_hash for each in told.linear_hashes])

    def signed_sum(self, told: VectorSum, teller: int) -> VectorSum:
        """The same, signed by a node."""
        committed = commit_all(told.context, (*told.earlier, checkpoint(self.summed(told))))
        statement = sum_statement(
            told.context,
            teller,
            told.accepted,
            len(told.linear_hashes),
            told.parcel,
            committed,
        )
        return replace(told, signature=self.folk.cryptos[teller].sign(statement))

    def wrong(self, told: VectorSum, total: bytes) -> WrongSum:
        """What shows all of a sum against whoever told of it."""
        checkpoints = (*told.earlier, checkpoint(self.summed(told)))
        count = len(told.linear_hashes)
        return WrongSum(told.accepted, count, checkpoints, open_all(total), told.signature)


@lru_cache(maxsize=1)
def masked_committee() -> MaskedCommittee:
    """One for all tests of a process: its vectors are made once."""
    return MaskedCommittee()


def fetches(outbox: Outbox) -> list[tuple]:
    """(name, length, sources, done, failed) of every fetch."""
    return [each[1:] for each in outbox.parcels if each[0] == "fetch"]


def grants(outbox: Outbox) -> list[tuple]:
    """(name, readers) of every grant."""
    return [each[1:] for each in outbox.parcels if each[0] == "grant"]


@lru_cache(maxsize=1)
def verified_committee() -> MaskedCommittee:
    """The same with verified updates."""
    return MaskedCommittee(b"v" * 32, verified=True)
