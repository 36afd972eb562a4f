"""Both verifiers walk a chain of epochs with a new census in it, as nodes made them."""

from functools import lru_cache

import pytest
from msgspec.structs import replace
from tests.independent import verifier
from tests.support.epochs import LENGTH_S, EpochTown
from tests.support.town import NETWORK, manifest, phase, real

from pnyx.errors import ProtocolError
from pnyx.node.bundle import export_bundle, read_bundle, verify_bundle
from pnyx.primitives import codec
from pnyx.protocol.params import ProtocolParams

ASKED = [phase(10, rounds=1)]


@lru_cache
def lived() -> tuple[EpochTown, bytes]:
    """A study in epoch 2, which uses the census that epoch 1 began with."""
    town = EpochTown(count=10, first=range(9), make=real)
    town.run(town.in_epoch(0))
    successor = town.publish([*range(1, 9), 9])
    town.inject(1, 2, items(successor))
    town.join(9, successor)
    assert town.run(town.in_epoch(1), seconds=2 * LENGTH_S)
    town.crash(0)  # it is revoked now, and hears nothing of what follows
    assert town.run(town.in_epoch(2), seconds=2 * LENGTH_S)
    study = town.propose(9, manifest(10, ASKED, epoch=2))
    assert town.run(town.finished(study), seconds=60)
    machine = town.machines[3]
    assert machine.census.root == successor.root
    return town, export_bundle(machine.studies[study], machine.epochs, town.model_bytes(study, 3))


def items(signed):
    from pnyx.protocol.messages import Items

    return Items((codec.encode(signed),))


def first_believes(content: bytes) -> bool:
    town = lived()[0]
    try:
        verify_bundle(read_bundle(content), town.genesis, town.authority, town.authority.public_key)
    except ProtocolError:
        return False
    return True


def findings(content: bytes) -> list[verifier.Finding]:
    town = lived()[0]
    census = codec.encode(town.signed[0])
    return verifier.verify(content, census, NETWORK, town.authority.public_key, 0)


def test_a_study_of_a_later_epoch_and_census_is_believed():
    content = lived()[1]
    bundle = read_bundle(content)
    assert (len(bundle.later), len(bundle.censuses)) == (2, 1)
    assert first_believes(content)
    assert findings(content) == []


def altered_signature(bundle, at=0):
    census = bundle.censuses[at]
    return replace(census, signature=census.signature[:-1] + bytes([census.signature[-1] ^ 1]))


CHANGES = {
    "no census": lambda b: replace(b, censuses=()),
    "a census that is not signed": lambda b: replace(b, censuses=(altered_signature(b),)),
    "the first census in its place": lambda b: replace(b, censuses=(lived()[0].signed[0],)),
    "an epoch too few": lambda b: replace(b, later=b.later[:-1]),
    "an epoch twice": lambda b: replace(b, later=(*b.later, b.later[-1])),
    "epochs in another order": lambda b: replace(b, later=b.later[::-1]),
    "another first record": lambda b: replace(b, epoch_record=b.later[0]),
    "no epochs": lambda b: replace(b, later=(), censuses=()),
    "a study's record in the chain": lambda b: replace(b, later=(b.later[0], b.records[0])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_broken_chain_of_epochs_is_refused_by_both(change):
    content = codec.encode(CHANGES[change](read_bundle(lived()[1])))
    assert not first_believes(content)
    assert [each for each in findings(content) if not each.implied]


def test_a_census_out_of_line_is_refused_by_both():
    """The authority signed it; the record pins another."""
    town, content = lived()
    other = town.sign(range(9), 1, b"x" * 32)
    bundle = read_bundle(content)
    changed = codec.encode(replace(bundle, censuses=(other,)))
    assert not first_believes(changed)
    assert findings(changed)


# --- a record that was handed over ----------------------------------------------------------------


@lru_cache
def handed_over() -> tuple[EpochTown, bytes]:
    """A study in epoch 1, whose record the first committee left to the second."""
    params = replace(ProtocolParams(), attempt_timeout_s=20.0)
    town = EpochTown(count=16, make=real, params=params)
    town.run(town.in_epoch(0))
    gone = town.machines[0].epochs.chain.plan.committee[:2]
    for index in gone:
        town.crash(index)
    assert town.run(town.in_epoch(1), seconds=20 * LENGTH_S)
    for index in gone:
        town.restart(index)
    study = town.propose(0, manifest(16, [phase(16, rounds=1)], epoch=1))
    assert town.run(town.finished(study), seconds=60)
    machine = town.machines[3]
    return town, export_bundle(machine.studies[study], machine.epochs, town.model_bytes(study, 3))


def both_answer(content: bytes) -> bool:
    town = handed_over()[0]
    try:
        verify_bundle(read_bundle(content), town.genesis, town.authority, town.authority.public_key)
        believed = True
    except ProtocolError:
        believed = False
    census = codec.encode(town.signed[0])
    found = verifier.verify(content, census, NETWORK, town.authority.public_key, 0)
    assert believed == (not [each for each in found if not each.implied]), found
    return believed


def test_an_epoch_whose_record_was_handed_over_is_believed():
    content = handed_over()[1]
    assert len(read_bundle(content).later[0].abort.decisions) == 1
    assert both_answer(content)


def fewer(decision):
    """The certificate without one of the members, who were as few as are enough, or more."""
    certificate = decision.certificate
    few = handed_over()[0].size.handover_quorum - 1
    return replace(
        decision,
        certificate=replace(
            certificate, signers=certificate.signers[:few], signatures=certificate.signatures[:few]
        ),
    )


HANDOVERS = {
    "none": lambda h: None,
    "twice": lambda h: replace(h, decisions=h.decisions * 2),
    "another round": lambda h: replace(h, round_number=2),
    "another study": lambda h: replace(h, study=bytes(32)),
    "a list": lambda h: replace(h, decisions=(replace(h.decisions[0], value=b"a list"),)),
    "another view": lambda h: replace(h, decisions=(replace(h.decisions[0], view=9),)),
    "another context": lambda h: replace(
        h, decisions=(replace(h.decisions[0], context=bytes(32)),)
    ),
    "fewer members": lambda h: replace(h, decisions=(fewer(h.decisions[0]),)),
}


@pytest.mark.parametrize("change", HANDOVERS)
def test_a_forged_handover_is_refused_by_both(change):
    bundle = read_bundle(handed_over()[1])
    record = bundle.later[0]
    forged = replace(record, abort=HANDOVERS[change](record.abort))
    assert not both_answer(codec.encode(replace(bundle, later=(forged, *bundle.later[1:]))))
