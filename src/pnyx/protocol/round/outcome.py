"""What the released shares of one attempt come to: sum, model, next beacon and the record.

A masked update is long. It is unmasked, and the model moved by it, beside everything else
(`Compute`): `record_from` gives nothing until that is done, once, whoever asks how often.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.verification import (
    FieldShares,
    key_widths,
    summed_length,
    summed_vector,
)
from pnyx.protocol.chunks import chunks_of
from pnyx.protocol.events import Compute
from pnyx.protocol.messages import Instance, RecordBody, Release, ReleaseBundle, Signed
from pnyx.protocol.ports import IntVector
from pnyx.protocol.privacy import spent_after
from pnyx.protocol.round.exclusions import excluded_after
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.values import joins_root
from pnyx.protocol.round.vectors import vector_code

_Found = tuple[bytes, tuple[int, ...]]  # model hash and published metrics


class _Sum(NamedTuple):
    """What a sum over `contributors` is unmasked and moves a model with.

    vectors: the sum of the masked vectors, checked. keys: of their keys. counts: of what is not
    masked, [bounds.length].
    """

    code: VectorCode
    vectors: bytes
    keys: tuple[IntVector, ...]
    counts: IntVector
    contributors: int

    def move(
        self, model: bytes, next_model: Callable[[bytes, IntVector, int], bytes | None]
    ) -> list[bytes] | None:
        """The chunks of the next model; None when the sum is worth nothing."""
        update = self.code.unmask(self.vectors, self.keys, self.contributors)
        if update is None:  # somebody shared another key than it masked with, and spoiled it
            return None
        moved = next_model(model, np.concatenate([update, self.counts]), self.contributors)
        return None if moved is None else list(chunks_of(moved))


class Outcome:
    """Reads releases for one member. The model that it computes is durable before it is named."""

    def __init__(self, state: MemberState) -> None:
        self._m = state
        self._asked: dict[bytes, tuple[int, ...]] = {}  # what is computed -> its metrics
        self._found: dict[bytes, _Found] = {}

    def on_computed(self, name: bytes, result: object) -> bool:
        """Keep the model that a sum came to. Tells whether it was asked for. Raises RuleBroken."""
        metrics = self._asked.pop(name, None)
        if metrics is None:
            return False
        chunks = result if isinstance(result, list) else None
        self._found[name] = self._keep(chunks, metrics)
        return True

    def read_release(self, signed: Signed) -> Release | None:
        """A release of this round and of the set that is fixed, or None. Raises ProtocolError."""
        body = self._m.reader.member_body(signed)
        if not isinstance(body, Release) or body.member not in self._m.keys:
            return None
        return body if body.accepted == self._m.decided(Instance.ACCEPT) else None

    def record_from(self, bundle: ReleaseBundle) -> bytes | None:
        """Compute the record body from released shares; None when they do not suffice."""
        closed = self._m.closed
        if closed is None:
            return None
        releases: dict[int, Release] = {}
        signed_by: dict[int, Signed] = {}
        for signed in bundle.releases:
            release = self.read_release(signed)
            if release is not None:
                releases[release.member], signed_by[release.member] = release, signed
        openings = [(member, release.openings) for member, release in releases.items()]
        secrets = beacon.recover_all(closed.next_dealers, openings, self._m.plan.size)
        if secrets is None:
            return None
        opened = self._m.agreements[Instance.OPEN].decision
        self._m.disputes.opened_secrets(opened, secrets, openings, challenge=False)
        try:
            outcome = self._outcome(releases)
        except DecodingError:
            return None
        if self._m.wrong_releases:
            self._m.disputes.released(signed_by, releases)
        if outcome is None:
            return None
        model_hash, metrics = outcome
        accepted = () if self._m.judgement is None else self._m.judgement.accepted
        return codec.encode(
            RecordBody(
                network=self._m.plan.census.network,
                study=self._m.plan.study,
                round_number=self._m.plan.round_number,
                attempt=self._m.plan.attempt,
                epoch=self._m.plan.epoch,
                census_root=self._m.plan.census.root,
                previous_record=self._m.plan.previous_record,
                context=self._m.plan.context,
                open_value=self._m.decided(Instance.OPEN),
                closed_value=self._m.decided(Instance.CLOSE),
                accepted_value=self._m.decided(Instance.ACCEPT),
                accepted=accepted if not self._m.skipped else (),
                skipped=self._m.skipped and self._m.plan.phase is not None,
                model_hash=model_hash,
                metrics=metrics,
                joins_root=joins_root(closed.joined),
                next_beacon=beacon.combine(self._m.plan.context, "next", secrets),
                privacy_spent=spent_after(
                    self._m.plan.privacy_spent, self._m.plan.phase, opened=not self._m.skipped
                ),
                excluded=excluded_after(self._m.plan, closed, self._m.judgement),
            )
        )

    def _outcome(self, releases: dict[int, Release]) -> _Found | None:
        """Model hash and published metrics; None while the shares or the model are missing."""
        phase, judgement = self._m.plan.phase, self._m.judgement
        if phase is None or judgement is None or self._m.skipped:
            return self._m.plan.model_hash, ()
        summed = None if self._m.wanted_sum is None else self._m.wanted_sum.data
        if phase.masked is not None and summed is None:
            return None
        length = summed_length(phase.bounds, self._m.plan.size)
        keys = key_widths(phase.bounds, self._m.plan.size)
        shares: dict[int, FieldShares] = {}
        for member, release in releases.items():
            if member in judgement.pool and release.shares:
                try:
                    shares[member] = direct.read_released(
                        release.shares, length, self._m.plan.size.packing, keys
                    )
                except MalformedMessage:
                    self._m.wrong_releases.add(member)
        decoded = direct.decode_sum(self._m.plan.size, shares, length)
        self._m.wrong_releases.update(decoded.liars)
        count = len(judgement.accepted)
        counts = summed_vector(decoded.total, phase.bounds, self._m.plan.size)
        metrics = tuple(int(value) for value in counts[len(counts) - phase.metrics_length :])
        if phase.kind != "train":
            return self._m.plan.model_hash, metrics
        model, next_model = self._m.model, self._m.study.next_model
        if model is None:
            return None
        code = vector_code(self._m.plan)
        if code is None or summed is None:
            moved = next_model(model, counts, count)
            return self._keep(None if moved is None else chunks_of(moved), metrics)
        keys_sum = tuple(key[: phase.bounds.key_length] for key in decoded.keys if len(key))
        found = _Sum(code, summed, keys_sum, counts, count)
        return self._computed(found, model, metrics)

    def _computed(self, found: _Sum, model: bytes, metrics: tuple[int, ...]) -> _Found | None:
        """What a masked sum comes to, once that is computed; ask for it the first time."""
        name = digest("pnyx/outcome", found.counts.tobytes(), *(k.tobytes() for k in found.keys))
        if name not in self._found and name not in self._asked:
            self._asked[name] = metrics
            work = partial(found.move, model, self._m.study.next_model)
            self._m.services.emit(Compute(self._m.plan.context, name, work))
        return self._found.get(name)

    def _keep(self, chunks: Iterable[bytes] | None, metrics: tuple[int, ...]) -> _Found:
        """Store the next model, before the vote that could certify it: it must exist somewhere."""
        if chunks is None:
            return self._m.plan.model_hash, ()
        return self._m.services.keep_parcel(chunks), metrics
