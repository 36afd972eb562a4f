"""A study's proof, made from a chain that nodes really certified."""

from functools import lru_cache

import msgspec
import pytest
from tests.support.town import Town, manifest, phase, real

from pnyx.errors import MalformedMessage, ProtocolError
from pnyx.node.bundle import Bundle, make_bundle, read_bundle, verify_bundle
from pnyx.primitives import codec
from pnyx.protocol.identity import sign_body
from pnyx.protocol.manifest import Manifest
from pnyx.protocol.study import StudyState

LENGTH = 9


@lru_cache
def certified() -> tuple[Town, StudyState]:
    """Nine nodes that finished a study of two rounds."""
    town = Town(make=real)
    study = town.propose(plan=manifest(LENGTH, [phase(LENGTH, rounds=2)]))
    assert town.run(town.finished(study))
    return town, town.machines[0].studies[study]


@pytest.fixture
def town() -> Town:
    return certified()[0]


@pytest.fixture
def bundle(town: Town) -> Bundle:
    state = certified()[1]
    return read_bundle(
        make_bundle(state, town.machines[0].epoch_record, town.model_bytes(state.study))
    )


def verified(town: Town, bundle: Bundle):
    machine = town.machines[0]
    return verify_bundle(bundle, machine.census, town.cryptos[0])


def changed(bundle: Bundle, **fields) -> Bundle:
    return msgspec.structs.replace(bundle, **fields)


def test_genuine_bundle_is_believed(town, bundle) -> None:
    found = verified(town, bundle)
    assert found.study == certified()[1].study
    assert found.finished
    assert [body.round_number for body in found.rounds] == [0, 1, 2]
    assert found.model == town.model_bytes(found.study)
    assert found.proposer == town.machines[0].node_id


def test_unfinished_chain_is_told_from_a_finished_one(town, bundle) -> None:
    found = verified(town, changed(bundle, records=bundle.records[:2], model=b""))
    assert not found.finished
    assert len(found.rounds) == 2


def test_another_model_is_refused(town, bundle) -> None:
    with pytest.raises(ProtocolError, match="not the one"):
        verified(town, changed(bundle, model=bundle.model[:-1] + b"\x01"))
    # The manifest is signed, so its size is another one only if its proposer said so.
    body = codec.decode(bundle.manifest.body, Manifest, bytes_max=10**6)
    other = changed(body, model_bytes=body.model_bytes + 8)
    signed = sign_body(town.cryptos[0], other.network, other.proposer, other)
    plain = changed(bundle, manifest=signed, records=(), model=bundle.model)
    with pytest.raises(ProtocolError, match="not the one"):
        verified(town, plain)
    with pytest.raises(ProtocolError, match="another size"):
        verified(town, changed(plain, model=bytes(8 * LENGTH)))


def test_records_left_out_or_in_another_order_are_refused(town, bundle) -> None:
    first, second, third = bundle.records
    for records in ((second, third), (first, third), (first, first), (*bundle.records, third)):
        with pytest.raises(ProtocolError):
            verified(town, changed(bundle, records=records))


def test_altered_manifest_is_refused(town, bundle) -> None:
    body = bundle.manifest.body
    altered = changed(bundle.manifest, body=body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(ProtocolError, match="bad signature"):
        verified(town, changed(bundle, manifest=altered))


def test_records_of_too_few_signers_are_refused(town, bundle) -> None:
    last = bundle.records[-1]
    certificate = last.certificate
    thin = msgspec.structs.replace(
        certificate, signers=certificate.signers[:5], signatures=certificate.signatures[:5]
    )
    records = (*bundle.records[:-1], msgspec.structs.replace(last, certificate=thin))
    with pytest.raises(ProtocolError):
        verified(town, changed(bundle, records=records))


def test_another_first_beacon_is_refused(town, bundle) -> None:
    with pytest.raises(ProtocolError):
        verified(town, changed(bundle, epoch_record=bundle.records[0]))


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xc1" * 100])
def test_garbage_is_no_bundle(content) -> None:
    with pytest.raises(MalformedMessage):
        read_bundle(content)
