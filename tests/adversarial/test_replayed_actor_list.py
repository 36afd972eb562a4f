"""R3: actor lists and random values that are replayed, spliced or altered, every field of them."""

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.regions import STUDY, Exchange, Ring, beacon_of, listed

from pnyx.errors import ProtocolError
from pnyx.primitives import codec
from pnyx.protocol.selection.region import RegionSelector
from pnyx.protocol.selection.region.messages import ActorProof, Draw, RandomProof

RING = Ring(36, corrupt_max=4)
COUNT = 30
DRAWN = (beacon_of(0), STUDY, 1, "actors", COUNT)


@lru_cache
def made():
    """A list and a random value that nodes made."""
    values = []

    def watch(sender, receiver, message):
        proof = getattr(message, "proof", None)
        if isinstance(proof, RandomProof):
            values.append(proof)
        return [(receiver, message)]

    proof = Exchange(RING, COUNT, spoil=watch).run()
    return proof, values[0]


def accepted(check, proof):
    try:
        check(proof)
    except ProtocolError:
        return False
    return True


def believed(proof):
    return accepted(lambda p: RING.selector.read(codec.encode(p), *DRAWN), proof)


def test_what_nodes_made_is_accepted():
    proof, value = made()
    assert believed(proof)
    RING.selector.check_random(value)


def paths(record):
    """Every place in a record: a path of names and numbers, with what stands there."""
    found = []

    def walk(value, path):
        if hasattr(value, "__struct_fields__"):
            for name in value.__struct_fields__:
                walk(getattr(value, name), (*path, name))
        elif isinstance(value, tuple):
            for at, each in enumerate(value):
                walk(each, (*path, at))
        else:
            found.append((path, value))

    walk(record, ())
    return found


def put(record, path, value):
    if not path:
        return value
    first, *rest = path
    if isinstance(first, int):
        items = list(record)
        items[first] = put(items[first], rest, value)
        return tuple(items)
    return replace(record, **{first: put(getattr(record, first), rest, value)})


def others(value):
    """Other values of a kind."""
    match value:
        case bytes():
            near = st.integers(0, 8 * len(value) - 1).map(
                lambda bit: (
                    value[: bit // 8]
                    + bytes((value[bit // 8] ^ 1 << bit % 8,))
                    + value[bit // 8 + 1 :]
                )
            )
            return near | st.binary(min_size=len(value), max_size=len(value))
        case str():
            return st.text("abcdefgh", min_size=1, max_size=12)
        case _:
            return st.integers(0, 2**12)


def check_mutants(record, check, data):
    path, value = data.draw(st.sampled_from(paths(record)))
    other = data.draw(others(value).filter(lambda each: each != value))
    assert not accepted(check, put(record, path, other)), path


COUNTS = [400, pytest.param(20_000, marks=pytest.mark.full)]


@pytest.mark.parametrize("count", COUNTS)
def test_altered_list(count):
    @settings(max_examples=count, deadline=None, database=None)
    @given(st.data())
    def run(data):
        check_mutants(made()[0], lambda p: RING.selector.read(codec.encode(p), *DRAWN), data)

    run()


@pytest.mark.parametrize("count", COUNTS)
def test_altered_random_value(count):
    @settings(max_examples=count, deadline=None, database=None)
    @given(st.data())
    def run(data):
        check_mutants(made()[1], RING.selector.check_random, data)

    run()


def test_every_field_of_a_draw_is_bound():
    """The coalition holds every key but those of honest witnesses: it may re-name, not re-sign."""
    proof, _ = made()
    for name in Draw.__struct_fields__:
        value = getattr(proof.draw, name)
        other = value + 1 if isinstance(value, int) else value[:-1] + type(value)(value[:1])
        if other == value:
            other = value[:-1] + bytes((value[-1] ^ 1,))
        draw = replace(proof.draw, **{name: other})
        assert not believed(replace(proof, draw=draw)), name


@pytest.mark.parametrize(
    "terms",
    [
        {"beacon": beacon_of(1)},
        {"study": b"s" * 32},
        {"round_number": 2},
        {"role": "committee"},
        {"count": COUNT - 1},
        {"expires": 1},
    ],
)
def test_replay_of_a_list_that_was_made_for_something_else(terms):
    """It is valid, and everybody signed it for what it was made for."""
    draw = replace(RING.selector.draw(*DRAWN, 1), **terms)
    other = listed(RING.selector, draw, RING.crypto)
    RING.selector.check_list(other)
    assert not believed(other)


def elsewhere(**terms):
    """Another place that would like to use the list: a network, an epoch, another census."""
    s = RING.selector
    here = {"network": s.network, "epoch": s.epoch, "census_root": s.census_root, **terms}
    return RegionSelector(cache=s.cache, rule=s.rule, verify=RING.verify, **here)


@pytest.mark.parametrize(
    "terms", [{"network": b"x" * 32}, {"epoch": 1}, {"census_root": b"x" * 32}]
)
def test_replay_in_another_place(terms):
    encoded = codec.encode(made()[0])
    assert accepted(lambda e: RING.selector.read(e, *DRAWN), encoded)
    assert not accepted(lambda e: elsewhere(**terms).read(e, *DRAWN), encoded)


def test_a_list_expires_with_its_epoch():
    later = elsewhere(epoch=1)
    draw = replace(later.draw(*DRAWN, 1), epoch=1, expires=0)
    assert not accepted(later.check_list, listed(later, draw, RING.crypto))
    assert accepted(later.check_list, listed(later, replace(draw, expires=1), RING.crypto))


def test_attempts_beyond_the_last_are_refused():
    draw = RING.selector.draw(*DRAWN, 17)
    assert not accepted(RING.selector.check_list, listed(RING.selector, draw, RING.crypto))


def test_a_selector_that_checks_no_signatures_would_believe(monkeypatch):
    proof, _ = made()
    forged = replace(
        proof, witnesses=tuple(replace(each, signature=bytes(64)) for each in proof.witnesses)
    )
    assert not believed(forged)
    monkeypatch.setattr(RING.selector, "_verify", lambda *_: True)
    assert believed(forged)


def test_oversized_lists_are_not_decoded():
    proof, _ = made()
    for size in (600_000, 5_000_000):
        padded = codec.encode(proof) + bytes(size)
        assert not accepted(lambda e: RING.selector.read(e, *DRAWN), padded)
    assert isinstance(proof, ActorProof)
