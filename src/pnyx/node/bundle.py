"""A study's proof, to be checked by anybody who has the network file and trusts the authority.

A bundle holds the signed manifest, the records of the epochs up to the study's with the censuses
that they begin with, every record of the study, and the current model. `verify_bundle` walks the
chains as a node does: the first census gives the first committee, each record the next one, and the
last record names the model.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.errors import InvalidCertificate, MalformedMessage, PnyxError, RuleBroken
from pnyx.primitives import codec
from pnyx.protocol.censuses import Censuses
from pnyx.protocol.epoch_keeper import EpochKeeper
from pnyx.protocol.epochs import EpochChain
from pnyx.protocol.identity import Census, SignedCensus
from pnyx.protocol.manifest import Manifest, read_manifest, study_id
from pnyx.protocol.messages import Indices, Record, RecordBody, Signed
from pnyx.protocol.models import model_name
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.ports import Crypto
from pnyx.protocol.study import StudyState, read_body
from pnyx.protocol.suspicion import Suspicion, suspicions

# The largest model, and as much for manifest and records.
BUNDLE_BYTES_MAX = DEFAULT_PARAMS.model_bytes_max + 40 * 1024 * 1024
ROUNDS_MAX = 10_001
EPOCHS_MAX = 4096
CENSUSES_MAX = 256


class Bundle(msgspec.Struct, frozen=True, array_like=True, tag=111, kw_only=True):
    """What a node exports; `model` is empty when the node does not hold the current one.

    later: records of the chain of epochs after the first, up to the study's epoch. censuses: those
    that these records begin with.
    """

    manifest: Signed
    epoch_record: Record
    records: Annotated[tuple[Record, ...], Meta(max_length=ROUNDS_MAX)]
    model: bytes
    later: Annotated[tuple[Record, ...], Meta(max_length=EPOCHS_MAX)] = ()
    censuses: Annotated[tuple[SignedCensus, ...], Meta(max_length=CENSUSES_MAX)] = ()


class VerifiedStudy(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle proves. `rounds` starts with the round that collects joins, number 0.

    owners: for each of them, group -> owners counted in the sum that was opened of it. suspicions:
    of every contributor, those whom chance explains least first; see `protocol.suspicion`.
    """

    study: bytes
    manifest: Manifest
    proposer: bytes
    rounds: tuple[RecordBody, ...]
    owners: tuple[dict[int, int], ...]
    suspicions: tuple[Suspicion, ...]
    finished: bool
    model_hash: bytes
    model: bytes


def read_bundle(content: bytes) -> Bundle:
    """Decode a bundle. Raises MalformedMessage."""
    if not content:
        raise MalformedMessage("The bundle is empty: export it again.")
    return codec.decode(content, Bundle, bytes_max=BUNDLE_BYTES_MAX)


def make_bundle(
    state: StudyState,
    epoch_record: Record,
    model: bytes,
    later: Sequence[Record] = (),
    censuses: Sequence[SignedCensus] = (),
) -> bytes:
    """Encode what proves a study's chain so far; `model` is empty when it is not held."""
    return codec.encode(
        Bundle(
            manifest=state.signed,
            epoch_record=epoch_record,
            records=tuple(state.records),
            model=model,
            later=tuple(later),
            censuses=tuple(censuses),
        )
    )


def export_bundle(state: StudyState, epochs: EpochKeeper, model: bytes) -> bytes:
    """Encode a study's proof with the epochs before it. Raises PnyxError before the first."""
    chain = epochs.chain
    records = chain.records[: state.manifest.epoch + 1]
    if not records or not state.records:
        raise PnyxError("This study has no certified round yet; try again later.")
    begun = [read_body(record).next_census for record in records]
    censuses = [epochs.censuses.signed(root) for root in begun if root is not None]
    known = [signed for signed in censuses if signed is not None]
    return make_bundle(state, records[0], model, records[1:], known)


def verify_bundle(
    bundle: Bundle, census: Census, crypto: Crypto, authority_key: bytes = b""
) -> VerifiedStudy:
    """Check every signature and every link of a bundle. Raises ProtocolError.

    census: that of the network's first committee. authority_key: who signed the later ones.
    """
    censuses = Censuses(census, authority_key, crypto)
    for signed in bundle.censuses:
        censuses.take(signed)
    chain = EpochChain(censuses, crypto)
    for epoch_record in (bundle.epoch_record, *bundle.later):
        if chain.accept(epoch_record) is None:
            raise InvalidCertificate("the bundle lacks a census that one of its epochs begins with")
    epoch = chain.newest
    assert epoch is not None, "a bundle has a first record"
    epoch.census.check(crypto, bundle.manifest)
    manifest = read_manifest(bundle.manifest, census.network, DEFAULT_PARAMS)
    if manifest.epoch != epoch.number:
        raise InvalidCertificate("the study belongs to an epoch that this bundle does not prove")
    study = study_id(bundle.manifest.body)
    state = StudyState(study, bundle.manifest, manifest, epoch.census)
    state.open(epoch.beacon, crypto)
    counted: list[tuple[RecordBody, dict[int, Indices]]] = []
    for record in bundle.records:
        plan = state.plan
        state.accept(record, crypto, DEFAULT_PARAMS)
        assert plan is not None, "a record was accepted for it"
        body = read_body(record)
        counted.append((body, plan.opened(body.accepted) if body.accepted else {}))
    if bundle.model and model_name(bundle.model) != state.model_hash:
        raise RuleBroken("the model is not the one that the last record names")
    if bundle.model and len(bundle.model) != manifest.model_bytes:
        raise RuleBroken("the model has another size than the manifest states")
    return VerifiedStudy(
        study=study,
        manifest=manifest,
        proposer=bundle.manifest.signer,
        rounds=tuple(body for body, _ in counted),
        owners=tuple({group: len(who) for group, who in groups.items()} for _, groups in counted),
        suspicions=suspicions(counted, epoch.census.node_ids),
        finished=state.finished,
        model_hash=state.model_hash,
        model=bundle.model,
    )
