"""One masked round's plan with every key, vector and receipt at hand."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from msgspec.structs import replace
from tests.support.committee import Committee, Outbox
from tests.support.town import SMALL, masked_phase, verified_phase

from pnyx.primitives.hashing import digest, merkle_root
from pnyx.protocol.aggregation import verification
from pnyx.protocol.aggregation.masked.vectors import MaskedUpdate, VectorCode, sum_vectors
from pnyx.protocol.aggregation.masked_verification.proof import prove_masked
from pnyx.protocol.aggregation.masked_verification.sketch import stated_sketch
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.messages import (
    HeldContribution,
    MaskedVector,
    Signed,
    SketchProof,
    SumRequest,
    VectorOffer,
    VectorReceipt,
    VectorSum,
)
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import contribution_context, header_hash
from pnyx.protocol.round.vectors import (
    Accepted,
    accepted_hash,
    linear_hash_name,
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


class MaskedCommittee(Committee):
    """Seven members, six contributors whose updates are masked, three aggregators, ten nodes."""

    def __init__(
        self,
        study: bytes = b"s" * 32,
        size: CommitteeSize = SMALL,
        *,
        verified: bool = False,
        **terms,
    ) -> None:
        chosen = verified_phase(LENGTH) if verified else masked_phase(LENGTH, **terms)
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

    # --- vectors --------------------------------------------------------------------------------

    def update(self, index: int) -> np.ndarray:
        """What a contributor masks."""
        vector = np.zeros(LENGTH, dtype=np.int64)
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
        )
        sketch = stated_sketch(self.code.parameters, bounds, made.sketched, masked.blocks)
        proof = SketchProof(made.key_root, made.salt, sketch)
        self._sketches[merkle_root(made.payloads)] = proof
        return verification.Proven(made.payloads, made.published)

    def header(self, index: int, payloads: Sequence[bytes] | None = None, **changes) -> Signed:
        """The signed header of a contribution that names its masked vector."""
        name = linear_hash_name(self.plan.context, self.masked(index).linear_hash)
        payloads = self.payloads(index) if payloads is None else payloads
        proof = self._sketches.get(merkle_root(payloads))
        vector = MaskedVector(parcel_of(self.vector(index)), name, proof)
        return super().header(index, payloads, **{"masked": vector, **changes})

    def offer(self, index: int, **changes) -> VectorOffer:
        """What a contributor, or an aggregator, says of a masked vector."""
        made = VectorOffer(self.plan.context, self.header(index), self.masked(index).linear_hash)
        return replace(made, **changes)

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
        hashes = tuple(self.masked(index).linear_hash for index in indices)
        parcel = parcel_of(self.total(indices))
        made = VectorSum(self.plan.context, self.name_of(*indices), parcel, hashes, b"")
        made = replace(made, **changes)
        statement = sum_statement(
            made.context,
            teller,
            made.accepted,
            len(made.linear_hashes),
            made.parcel,
            self.code.summed_hash(made.linear_hashes),
        )
        return replace(made, signature=self.folk.cryptos[teller].sign(statement))


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
