"""What the released shares of one attempt come to: sums, model, next beacon and the record."""

from typing import NamedTuple

import numpy as np

from pnyx.errors import DecodingError, MalformedMessage
from pnyx.primitives import codec
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.direct import DecodedSum
from pnyx.protocol.aggregation.robust import Combined, GroupUpdate, combine
from pnyx.protocol.aggregation.verification import (
    FieldShares,
    key_widths,
    summed_length,
    summed_vector,
)
from pnyx.protocol.gossip import blob_name
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import GroupSum, Instance, RecordBody, Release, ReleaseBundle, Signed
from pnyx.protocol.ports import IntVector
from pnyx.protocol.privacy import spent_after
from pnyx.protocol.round.exclusions import excluded_after
from pnyx.protocol.round.groups import NO_SUM, shares_by_group, sum_hash
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.values import joins_root
from pnyx.protocol.round.vectors import vector_code


class _Found(NamedTuple):
    """What released shares come to."""

    model_hash: bytes
    metrics: tuple[int, ...]
    sums: tuple[GroupSum, ...]


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
        counted = sorted(who for group in self._m.groups.values() for who in group)
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
                accepted=tuple(counted),
                skipped=self._m.skipped and self._m.plan.phase is not None,
                model_hash=outcome.model_hash,
                metrics=outcome.metrics,
                joins_root=joins_root(closed.joined),
                next_beacon=beacon.combine(self._m.plan.context, "next", secrets),
                privacy_spent=spent_after(
                    self._m.plan.privacy_spent, self._m.plan.phase, opened=not self._m.skipped
                ),
                excluded=excluded_after(self._m.plan, closed, self._m.judgement),
                sums=outcome.sums,
            )
        )

    def _outcome(self, releases: dict[int, Release]) -> _Found | None:
        """What the round comes to; None while the shares, a sum or the model are missing."""
        phase, plan, groups = self._m.plan.phase, self._m.plan, self._m.groups
        if phase is None or not groups:
            return _Found(plan.model_hash, (), ())
        masked = None if self._m.wanted_sums is None else self._m.wanted_sums.data
        if phase.masked is not None and masked is None:
            return None
        decoded = self._decoded(releases, phase)
        totals: dict[int, IntVector] = {}  # of the groups that came to something
        for group, found in decoded.items():
            summed = None if masked is None else masked[group]
            total = self._total(found, summed, len(groups[group]), phase)
            if total is not None:
                totals[group] = total
        sums = tuple(
            GroupSum(group, sum_hash(plan.context, group, totals[group]))
            if group in totals
            else GroupSum(group, NO_SUM)
            for group in groups
        )
        if len(totals) < phase.robust.groups_min:  # spoiled: nothing of the others is used either
            return _Found(plan.model_hash, (), sums)
        split = phase.length - phase.metrics_length
        metrics = tuple(
            sum(int(total[at]) for total in totals.values()) for at in range(split, phase.length)
        )
        if phase.kind != "train":
            return _Found(plan.model_hash, metrics, sums)
        if self._m.study.model() is None:
            return None
        combined = self._combined(totals, phase)
        counts = np.sum([total[phase.update_length :] for total in totals.values()], axis=0)
        self._m.computed_model = self._m.study.next_model(
            np.concatenate([combined.total, counts]), combined.divisor
        )
        if self._m.computed_model is None:
            return _Found(plan.model_hash, (), sums)
        # Before the vote that could certify it: a certified model must exist somewhere.
        self._m.services.persist("model", self._m.computed_model)
        return _Found(blob_name(self._m.computed_model), metrics, sums)

    def _decoded(self, releases: dict[int, Release], phase: StudyPhase) -> dict[int, DecodedSum]:
        """The sum of each group, from the shares of the members that hold all of the accepted set.

        Raises DecodingError.
        """
        size, groups, judgement = self._m.plan.size, self._m.groups, self._m.judgement
        length, keys = summed_length(phase.bounds, size), key_widths(phase.bounds, size)
        shares: dict[int, list[FieldShares]] = {}
        for member, release in releases.items():
            if judgement is None or member not in judgement.pool or not release.shares:
                continue
            parts = shares_by_group(release.shares, phase, size)
            try:
                if len(parts) != len(groups):
                    raise MalformedMessage("shares of too few sums, or too many")
                shares[member] = [
                    direct.read_released(part, length, size.packing, keys) for part in parts
                ]
            except MalformedMessage:
                self._m.wrong_releases.add(member)
        decoded: dict[int, DecodedSum] = {}
        for place, group in enumerate(groups):
            of_group = {member: parts[place] for member, parts in shares.items()}
            decoded[group] = direct.decode_sum(size, of_group, length)
            self._m.wrong_releases.update(decoded[group].liars)
        return decoded

    def _total(
        self, decoded: DecodedSum, masked: bytes | None, count: int, phase: StudyPhase
    ) -> IntVector | None:
        """The sum [length] of a group's contributions; None if one of them spoiled it."""
        total = summed_vector(decoded.total, phase.bounds, self._m.plan.size)
        code = vector_code(self._m.plan)
        if code is None or masked is None:
            return total
        keys = tuple(key[: phase.bounds.key_length] for key in decoded.keys if len(key))
        update = code.unmask(masked, keys, count)
        if update is None:  # somebody shared another key than it masked with
            return None
        return np.concatenate([update, total])

    def _combined(self, totals: dict[int, IntVector], phase: StudyPhase) -> Combined:
        """The update that the model moves by, from those of all groups."""
        groups = self._m.groups
        updates = [
            GroupUpdate(total[: phase.update_length], len(groups[group]))
            for group, total in totals.items()
        ]
        return combine(updates, phase.robust)
