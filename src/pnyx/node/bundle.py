"""A study's proof, to be checked by anybody who has the network file and trusts the authority.

A bundle holds the signed manifest, the record of the first epoch's beacon, every record of the
study, and the current model. `verify_bundle` walks the chain as a node does: the census gives the
first committee, each record the next one, and the last record names the model.
"""

from collections import Counter
from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.errors import InvalidCertificate, MalformedMessage, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.identity import Census
from pnyx.protocol.manifest import Manifest, read_manifest, study_id
from pnyx.protocol.messages import Record, RecordBody, Signed
from pnyx.protocol.models import model_name
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.ports import Crypto
from pnyx.protocol.study import StudyState, genesis_plan, read_body, verify_record

# The largest model, and as much for manifest and records.
BUNDLE_BYTES_MAX = DEFAULT_PARAMS.model_bytes_max + 40 * 1024 * 1024
ROUNDS_MAX = 10_001


class Bundle(msgspec.Struct, frozen=True, array_like=True, tag=111, kw_only=True):
    """What a node exports; `model` is empty when the node does not hold the current one."""

    manifest: Signed
    epoch_record: Record
    records: Annotated[tuple[Record, ...], Meta(max_length=ROUNDS_MAX)]
    model: bytes


class VerifiedStudy(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle proves. `rounds` starts with the round that collects joins, number 0.

    owners: for each of them, group -> owners counted in the sum that was opened of it.
    """

    study: bytes
    manifest: Manifest
    proposer: bytes
    rounds: tuple[RecordBody, ...]
    owners: tuple[dict[int, int], ...]
    finished: bool
    model_hash: bytes
    model: bytes


def read_bundle(content: bytes) -> Bundle:
    """Decode a bundle. Raises MalformedMessage."""
    if not content:
        raise MalformedMessage("The bundle is empty: export it again.")
    return codec.decode(content, Bundle, bytes_max=BUNDLE_BYTES_MAX)


def make_bundle(state: StudyState, epoch_record: Record, model: bytes) -> bytes:
    """Encode what proves a study's chain so far; `model` is empty when it is not held."""
    return codec.encode(
        Bundle(
            manifest=state.signed,
            epoch_record=epoch_record,
            records=tuple(state.records),
            model=model,
        )
    )


def verify_bundle(bundle: Bundle, census: Census, crypto: Crypto) -> VerifiedStudy:
    """Check every signature and every link of a bundle. Raises ProtocolError."""
    census.check(crypto, bundle.manifest)
    manifest = read_manifest(bundle.manifest, census.network, DEFAULT_PARAMS)
    if manifest.epoch != 0:
        raise InvalidCertificate("the study belongs to an epoch that this bundle does not prove")
    beacon = verify_record(genesis_plan(census), bundle.epoch_record, crypto).next_beacon
    study = study_id(bundle.manifest.body)
    state = StudyState(study, bundle.manifest, manifest, census)
    state.open(beacon, crypto)
    owners: list[dict[int, int]] = []
    for record in bundle.records:
        plan = state.plan
        state.accept(record, crypto, DEFAULT_PARAMS)
        assert plan is not None, "a record was accepted for it"
        counted = Counter(plan.group_of.get(who, 0) for who in read_body(record).accepted)
        owners.append(dict(sorted(counted.items())))
    if bundle.model and model_name(bundle.model) != state.model_hash:
        raise RuleBroken("the model is not the one that the last record names")
    if bundle.model and len(bundle.model) != manifest.model_bytes:
        raise RuleBroken("the model has another size than the manifest states")
    return VerifiedStudy(
        study=study,
        manifest=manifest,
        proposer=bundle.manifest.signer,
        rounds=tuple(read_body(record) for record in bundle.records),
        owners=tuple(owners),
        finished=state.finished,
        model_hash=state.model_hash,
        model=bundle.model,
    )
