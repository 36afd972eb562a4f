"""What the released shares of one attempt come to: sums, model, next beacon and the record.

A masked update is long. It is unmasked, and the model moved by it, beside everything else
(`Compute`): `record_from` gives nothing until that is done, once, whoever asks how often.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from pnyx.errors import DecodingError, MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol import beacon
from pnyx.protocol.aggregation import direct
from pnyx.protocol.aggregation.direct import DecodedSum
from pnyx.protocol.aggregation.masked.vectors import VectorCode
from pnyx.protocol.aggregation.robust import GroupUpdate, combine
from pnyx.protocol.aggregation.verification import (
    FieldShares,
    key_widths,
    summed_length,
    summed_vector,
)
from pnyx.protocol.chunks import chunks_of
from pnyx.protocol.events import Compute
from pnyx.protocol.manifest import StudyPhase
from pnyx.protocol.messages import GroupSum, Instance, RecordBody, Release, ReleaseBundle, Signed
from pnyx.protocol.ports import IntVector
from pnyx.protocol.privacy import spent_after
from pnyx.protocol.round.exclusions import excluded_after
from pnyx.protocol.round.groups import NO_SUM, shares_by_group, sum_hash
from pnyx.protocol.round.state import MemberState
from pnyx.protocol.round.values import ClosedList, joins_root
from pnyx.protocol.round.vectors import vector_code

NextModel = Callable[[bytes, IntVector, int], bytes | None]


class _Came(NamedTuple):
    """What sums came to. chunks: of the next model, if there is one."""

    metrics: tuple[int, ...]
    sums: tuple[GroupSum, ...]
    chunks: list[bytes] | None


class _Sums(NamedTuple):
    """What the released shares say of the groups that are opened, each by its number.

    counts: sums of what is not masked, [bounds.length]. keys, vectors: where updates are masked, of
    the keys, and of the masked vectors, checked. contributors: how many a sum is over.
    """

    context: bytes
    phase: StudyPhase
    code: VectorCode | None
    counts: dict[int, IntVector]
    keys: dict[int, tuple[IntVector, ...]]
    vectors: dict[int, bytes]
    contributors: dict[int, int]

    @property
    def name(self) -> bytes:
        """Tells these sums from others of the round."""
        parts = [
            part.tobytes()
            for group in self.counts
            for part in (self.counts[group], *self.keys[group])
        ]
        return digest("pnyx/outcome", *parts)

    def come_to(self, model: bytes, next_model: NextModel) -> _Came:
        """Unmask the sums, and move the model by them where the round trains."""
        phase = self.phase
        totals: dict[int, IntVector] = {}  # of the groups that came to something
        for group in self.counts:
            total = self._total(group)
            if total is not None:
                totals[group] = total
        sums = tuple(
            GroupSum(group, sum_hash(self.context, group, totals[group]))
            if group in totals
            else GroupSum(group, NO_SUM)
            for group in self.counts
        )
        if len(totals) < phase.robust.groups_min:  # spoiled: nothing of the others is used either
            return _Came((), sums, None)
        split = phase.length - phase.metrics_length
        metrics = tuple(
            sum(int(total[at]) for total in totals.values()) for at in range(split, phase.length)
        )
        if phase.kind != "train":
            return _Came(metrics, sums, None)
        combined = combine(
            [
                GroupUpdate(total[: phase.update_length], self.contributors[group])
                for group, total in totals.items()
            ],
            phase.robust,
        )
        counts = np.sum([total[phase.update_length :] for total in totals.values()], axis=0)
        moved = next_model(model, np.concatenate([combined.total, counts]), combined.divisor)
        if moved is None:
            return _Came((), sums, None)
        return _Came(metrics, sums, list(chunks_of(moved)))

    def _total(self, group: int) -> IntVector | None:
        """The sum [length] of a group's contributions; None if one of them spoiled it."""
        if self.code is None:
            return self.counts[group]
        update = self.code.unmask(self.vectors[group], self.keys[group], self.contributors[group])
        if update is None:  # somebody shared another key than it masked with
            return None
        return np.concatenate([update, self.counts[group]])


class _Found(NamedTuple):
    """What released shares come to."""

    model_hash: bytes
    metrics: tuple[int, ...]
    sums: tuple[GroupSum, ...]


class _Read(NamedTuple):
    """A bundle that opens the next beacon: releases by member, and the secrets by dealer."""

    bundle: ReleaseBundle
    releases: dict[int, Release]
    signed_by: dict[int, Signed]
    secrets: dict[int, bytes]


class Outcome:
    """Reads releases for one member. The model that it computes is durable before it is named."""

    def __init__(self, state: MemberState) -> None:
        self._m = state
        self._asked: set[bytes] = set()  # names of sums that are being unmasked
        self._came: dict[bytes, _Came] = {}  # what they came to, until there is room for the model
        self._found: dict[bytes, _Found] = {}
        self._last: _Read | None = None  # asked for again when sum or model have come

    def on_computed(self, name: bytes, result: object) -> bool:
        """Take what sums came to. Tells whether that was asked for."""
        if name not in self._asked or not isinstance(result, _Came):
            return False
        self._asked.discard(name)
        self._came[name] = result
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
        read = self._read(bundle, closed)
        if read is None:
            return None
        try:
            outcome = self._outcome(read.releases)
        except DecodingError:
            return None
        if self._m.wrong_releases:
            self._m.disputes.released(read.signed_by, read.releases)
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
                joins_root=joins_root(closed.joined, closed.actors),
                next_beacon=beacon.combine(self._m.plan.context, "next", read.secrets),
                privacy_spent=spent_after(
                    self._m.plan.privacy_spent, self._m.plan.phase, opened=not self._m.skipped
                ),
                excluded=excluded_after(self._m.plan, closed, self._m.judgement),
                sums=outcome.sums,
                next_census=closed.next_census,
            )
        )

    def _read(self, bundle: ReleaseBundle, closed: ClosedList) -> _Read | None:
        """Read a bundle and open its secrets, once; None while they are too few.

        Raises ProtocolError.
        """
        if self._last is not None and self._last.bundle == bundle:
            return self._last
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
        self._last = _Read(bundle, releases, signed_by, secrets)
        return self._last

    def _outcome(self, releases: dict[int, Release]) -> _Found | None:
        """What the round comes to; None while the shares, a sum or the model are missing."""
        phase, plan, groups = self._m.plan.phase, self._m.plan, self._m.groups
        if phase is None or not groups:
            return _Found(plan.model_hash, (), ())
        masked = self._m.sums
        if phase.masked is not None and masked is None:
            return None
        decoded = self._decoded(releases, phase)
        model = self._m.model
        if phase.kind != "train":
            model = b""
        elif model is None:
            return None
        sums = _Sums(
            plan.context,
            phase,
            vector_code(plan),
            {
                group: summed_vector(found.total, phase.bounds, plan.size)
                for group, found in decoded.items()
            },
            {
                group: tuple(key[: phase.bounds.key_length] for key in found.keys if len(key))
                for group, found in decoded.items()
            },
            {} if masked is None else masked,
            {group: len(groups[group]) for group in decoded},
        )
        next_model = self._m.study.next_model
        return (
            self._keep(sums.come_to(model, next_model))
            if masked is None
            else self._computed(sums, partial(sums.come_to, model, next_model))
        )

    def _computed(self, sums: _Sums, work: Callable[[], _Came]) -> _Found | None:
        """What masked sums come to, once that is computed; ask for it the first time."""
        name = sums.name
        if name in self._came:
            found = self._keep(self._came[name])
            if found is None:
                return None
            self._found[name] = found
            del self._came[name]
        elif name not in self._found and name not in self._asked:
            self._asked.add(name)
            self._m.services.emit(Compute(self._m.plan.context, name, work))
        return self._found.get(name)

    def _keep(self, came: _Came) -> _Found | None:
        """Store the next model, before the vote that could certify it: it must exist somewhere.

        None while there is no room for it: the next bundle asks again.
        """
        model_hash = self._m.plan.model_hash
        if came.chunks is not None:
            try:
                model_hash = self._m.services.keep_parcel(came.chunks)
            except RuleBroken:
                return None
        return _Found(model_hash, came.metrics, came.sums)

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
