"""Chains that link and carry valid signatures whatever they say: all keys are in one hand.

A single rule can be broken this way, everything after it being consistent: later rounds build on
the record as it is. Honest by default; `edits` changes fields of one record's body, or its
`record_joins` and `signers`, before it is signed. `aborted` tells why a round has a second attempt.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from msgspec.structs import replace
from tests.support.aborts import abort_of
from tests.support.records import spent, sums
from tests.support.regions import listed
from tests.support.town import NETWORK, SMALL, People, manifest, people, phase, real

from pnyx.errors import MalformedMessage, ProtocolError
from pnyx.node.bundle import Bundle
from pnyx.primitives import codec
from pnyx.primitives.signature import QuorumCertificate
from pnyx.protocol import beacon
from pnyx.protocol.identity import CensusEntry, make_census, sign_body, signing_input
from pnyx.protocol.manifest import MANIFEST_BYTES_MAX, Manifest, study_id
from pnyx.protocol.messages import Record, RecordBody
from pnyx.protocol.models import model_name
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.round.actors import selector_for
from pnyx.protocol.round.attempts import NO_VALUE, second_attempt
from pnyx.protocol.round.plan import RoundPlan
from pnyx.protocol.round.values import joins_root
from pnyx.protocol.selection import CommitteeSize
from pnyx.protocol.study import genesis_plan, joining_plan, next_plan

EPOCH = -1
Edits = Mapping[int, Mapping[str, Any]]
AUTHORITY = real(b"Z" * 32)
LENGTH = 9
# A model that has as many parameters as masked updates have values.
LARGE = {"model_bytes": 8_000, "initial_model": model_name(bytes(8_000))}


@lru_cache
def folk(count: int = 9, size: CommitteeSize = SMALL) -> People:
    """The people of `tests.support.town`, with real keys."""
    return people(count, size, real)


def census_bytes(persons: People, **changes: Any) -> bytes:
    """Their signed census as it stands in the network file."""
    census = persons.census
    pairs = zip(census.node_ids, census.public_keys, strict=True)
    terms = {
        "network": NETWORK,
        "number": 0,
        "previous": bytes(32),
        "entries": [CensusEntry(*pair) for pair in pairs],
        "committee": census.committee,
        "issued_at": 0,
        "valid_until": 10**9,
    }
    return codec.encode(make_census(AUTHORITY.sign, **{**terms, **changes}))


def three_rounds(**terms: Any) -> Manifest:
    """Two rounds of training, and one of evaluation that publishes three metrics."""
    phases = [phase(LENGTH, rounds=2), phase(LENGTH, kind="evaluate", metrics_length=3)]
    return manifest(LENGTH, **{"phases": phases, **terms})


def forged(
    edits: Edits | None = None,
    plan: Manifest | None = None,
    persons: People | None = None,
    proposer: int = 0,
    **bundle: Any,
) -> bytes:
    """Encode a bundle for this manifest; `bundle` replaces its parts as a whole."""
    persons = persons or folk()
    asked = plan or three_rounds()
    signer = persons.census.node_ids[proposer]
    if asked.proposer == bytes(32):
        asked = replace(asked, proposer=signer)
    signed = sign_body(persons.cryptos[proposer], NETWORK, signer, asked)
    study = study_id(signed.body)
    edits = edits or {}
    everybody = tuple(range(len(persons.census)))
    epoch = _record(persons, genesis_plan(persons.census), (), edits.get(EPOCH, {}))
    first = edits.get(EPOCH, {}).get("next_beacon", b"n" * 32)
    large = asked.initial_model == LARGE["initial_model"]
    model = bytes(LARGE["model_bytes"] if large else 8 * LENGTH)
    records: list[Record] = []
    step: RoundPlan | None = None
    with suppress(MalformedMessage):  # nobody reads records behind a manifest that nobody can read
        asked = codec.decode(signed.body, Manifest, bytes_max=MANIFEST_BYTES_MAX)
        by_regions = asked.selection == "region"
        regions = selector_for(persons.census, 0, first, AUTHORITY.verify) if by_regions else None
        step = joining_plan(persons.census, study, asked, first, regions)
    while step is not None:
        number = step.round_number
        edit = edits.get(len(records), {})
        if "aborted" in edit:
            step = second_attempt(step, abort_of(persons, step, **edit["aborted"]), AUTHORITY)
        if edit.get("skip"):
            edit = {**skip(step), "joins_root": joins_root(step.joins, step.actors), **edit}
        elif step.phase is not None and step.phase.kind == "train":
            model = number.to_bytes(len(model), "little")
            edit = {"model_hash": model_name(model), **edit}
        record = _record(persons, step, everybody, edit)
        records.append(record)
        try:
            step = next_plan(persons.census, study, asked, record, DEFAULT_PARAMS, regions)
        except (ProtocolError, ValueError):
            break  # nobody could read this record, or draw a committee by it
    parts = {"manifest": signed, "epoch_record": epoch, "records": tuple(records), "model": model}
    return codec.encode(Bundle(**{**parts, **bundle}))


def skip(step: RoundPlan) -> dict[str, Any]:
    """What the record of a plan's round says after its second attempt was aborted."""
    return {
        "closed_value": NO_VALUE,
        "accepted": (),
        "skipped": True,
        "model_hash": step.model_hash,
        "metrics": (),
        "record_joins": step.joins,
        "record_actors": step.actors,
        "next_beacon": beacon.skipped(step.study, step.round_number, step.beacon),
    }


def _record(
    persons: People, plan: RoundPlan, joins: tuple[int, ...], edit: Mapping[str, Any]
) -> Record:
    counting = plan.phase is not None
    target = plan.phase.target if counting else 0
    accepted = tuple(sorted(plan.contributors[:target]))
    joins = edit.get("record_joins", joins)
    actors = edit.get("record_actors", b"")
    if plan.following is not None and "record_actors" not in edit:
        keys = dict(zip(persons.census.node_ids, persons.cryptos, strict=True))
        change = edit.get("actors", lambda made: made)
        actors = codec.encode(change(listed(plan.following.selector, plan.following.wanted, keys)))
    terms = {
        "network": NETWORK,
        "study": plan.study,
        "round_number": plan.round_number,
        "attempt": plan.attempt,
        "epoch": plan.epoch,
        "census_root": plan.census.root,
        "previous_record": plan.previous_record,
        "context": plan.context,
        "open_value": b"o" * 32,
        "closed_value": b"c" * 32,
        "accepted_value": b"a" * 32,
        "accepted": accepted,
        "skipped": False,
        "model_hash": plan.model_hash,
        "metrics": (1,) * plan.phase.metrics_length if counting else (),
        "joins_root": joins_root(joins, actors),
        "next_beacon": b"n" * 32,
        "excluded": plan.excluded,
        "privacy_spent": spent(plan, skipped=bool(edit.get("skipped", False))),
        "sums": sums(
            plan, edit.get("accepted", accepted), skipped=bool(edit.get("skipped", False))
        ),
    }
    changed = {name: value for name, value in edit.items() if name in terms}
    body = codec.encode(RecordBody(**{**terms, **changed}))
    signers = edit.get("signers", tuple(range(plan.size.quorum)))
    signable = signing_input(NETWORK, body)
    signatures = tuple(
        persons.cryptos[plan.committee[member % plan.size.size]].sign(signable)
        for member in signers
    )
    abort = edit.get("record_abort", plan.abort)
    return Record(body, joins, QuorumCertificate(signers, signatures), abort, actors)
