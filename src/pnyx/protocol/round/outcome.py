"""What the released shares of one attempt come to: sum, model, next beacon and the record."""

import numpy as np

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.verification import (
    FieldShares,
    key_widths,
    summed_length,
    summed_vector,
)
from pnyx.protocol.gossip import blob_name
from pnyx.protocol.messages import Instance, RecordBody, Release, ReleaseBundle, Signed
from pnyx.protocol.privacy import spent_after
from pnyx.protocol.round.exclusions import excluded_after
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.values import joins_root
from pnyx.protocol.round.vectors import vector_code


class Outcome:
    """Reads releases for one member. The model that it computes is durable before it is named."""

    def __init__(self, state: MemberState) -> None:
        self._m = state

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
                joins_root=joins_root(closed.joined, closed.actors),
                next_beacon=beacon.combine(self._m.plan.context, "next", secrets),
                privacy_spent=spent_after(
                    self._m.plan.privacy_spent, self._m.plan.phase, opened=not self._m.skipped
                ),
                excluded=excluded_after(self._m.plan, closed, self._m.judgement),
            )
        )

    def _outcome(self, releases: dict[int, Release]) -> tuple[bytes, tuple[int, ...]] | None:
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
        total = summed_vector(decoded.total, phase.bounds, self._m.plan.size)
        code = vector_code(self._m.plan)
        if code is not None and summed is not None:
            keys_sum = tuple(key[: phase.bounds.key_length] for key in decoded.keys if len(key))
            update = code.unmask(summed, keys_sum, count)
            if update is None:  # somebody shared another key than it masked with, and spoiled it
                return self._m.plan.model_hash, ()
            total = np.concatenate([update, total])
        split = phase.length - phase.metrics_length
        metrics = tuple(int(value) for value in total[split:])
        if phase.kind != "train":
            return self._m.plan.model_hash, metrics
        if self._m.study.model() is None:
            return None
        self._m.computed_model = self._m.study.next_model(total, count)
        if self._m.computed_model is None:
            return self._m.plan.model_hash, ()
        # Before the vote that could certify it: a certified model must exist somewhere.
        self._m.services.persist("model", self._m.computed_model)
        return blob_name(self._m.computed_model), metrics
