"""Dealing, opening and combining beacon secrets."""

from itertools import combinations

import numpy as np
import pytest
from tests.support.town import SMALL

from pnyx.primitives.hashing import digest, merkle_proofs, merkle_root
from pnyx.protocol import beacon, dealing
from pnyx.protocol.messages import OpenedShare
from pnyx.protocol.selection import committee_size

SIZE = committee_size(11, 2, 2)
SEED = b"s" * 32
DEALT = beacon.deal(SEED, 3, SIZE)
SECRET = beacon.recover(DEALT.root, dict(enumerate(DEALT.shares)), SIZE)


def shares(*members: int) -> dict[int, OpenedShare]:
    return {member: DEALT.shares[member] for member in members}


def test_a_dealing_is_determined_by_its_seed():
    assert beacon.deal(SEED, 3, SIZE) == DEALT
    assert beacon.deal(b"t" * 32, 3, SIZE).root != DEALT.root
    assert str(DEALT) == "DealtSecret(…)"


def test_any_f_plus_one_members_open_the_secret():
    assert SECRET is not None
    assert SECRET != beacon.NO_SECRET
    for members in combinations(range(SIZE.size), SIZE.corrupt_max + 1):
        assert beacon.recover(DEALT.root, shares(*members), SIZE) == SECRET


def test_f_members_do_not_open_it():
    assert beacon.recover(DEALT.root, shares(0, 5), SIZE) is None


def test_f_shares_are_compatible_with_every_secret():
    """For any other secret there is a polynomial through the same f shares (simulation)."""
    field = beacon.FIELD
    sharing = dealing._sharing(SIZE)
    seen = np.stack([field.unpack(DEALT.shares[m].share, 10) for m in range(SIZE.corrupt_max)])
    for other in (0, 1, field.modulus - 1):
        secret = np.full((1, beacon.SECRET_ELEMENTS), other, dtype=np.int64)
        assert (sharing.share(secret, seen)[: SIZE.corrupt_max] == seen).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": b"\x01" + DEALT.shares[4].share[1:]},
        {"share": DEALT.shares[4].share[:-1]},
        {"salt": bytes(16)},
        {"proof": DEALT.shares[5].proof},
        {"proof": ()},
    ],
)
def test_a_share_that_was_not_committed_to(wrong):
    good = DEALT.shares[4]
    terms = {"dealer": 3, "share": good.share, "salt": good.salt, "proof": good.proof, **wrong}
    bad = OpenedShare(**terms)
    assert not beacon.share_matches(DEALT.root, bad, 4, SIZE)
    opened = {0: DEALT.shares[0], 1: DEALT.shares[1], 4: bad}
    assert beacon.recover(DEALT.root, opened, SIZE) is None, "it does not count"
    assert beacon.recover(DEALT.root, {**opened, 2: DEALT.shares[2]}, SIZE) == SECRET


def test_a_share_belongs_to_its_member():
    assert beacon.share_matches(DEALT.root, DEALT.shares[4], 4, SIZE)
    for member in (3, SIZE.size, -1):
        assert not beacon.share_matches(DEALT.root, DEALT.shares[4], member, SIZE)


def test_a_commitment_to_no_field_elements_opens_to_zero():
    rows = [b"\xff" * beacon.SHARE_BYTES for _ in range(SIZE.size)]
    salts = [bytes(16)] * SIZE.size
    leaves = [row + salt for row, salt in zip(rows, salts, strict=True)]
    root, proofs = merkle_root(leaves), merkle_proofs(leaves)
    opened = {m: OpenedShare(3, rows[m], salts[m], proofs[m]) for m in range(4)}
    assert beacon.recover(root, opened, SIZE) == beacon.NO_SECRET


def test_recover_all_needs_every_dealer():
    second = beacon.deal(b"t" * 32, 1, SIZE)
    roots = {3: DEALT.root, 1: second.root}
    stray = beacon.deal(b"u" * 32, 7, SIZE)
    openings = [(m, (DEALT.shares[m], second.shares[m], stray.shares[m])) for m in range(3)]
    assert beacon.recover_all(roots, openings[:2], SIZE) is None
    secrets = beacon.recover_all(roots, openings, SIZE)
    assert secrets is not None
    assert set(secrets) == {1, 3}
    assert secrets[3] == SECRET


def test_the_beacon_depends_on_everything():
    base = beacon.combine(b"c", "next", {1: b"x", 2: b"y"})
    assert base == beacon.combine(b"c", "next", {2: b"y", 1: b"x"})
    others = {
        beacon.combine(b"d", "next", {1: b"x", 2: b"y"}),
        beacon.combine(b"c", "challenge", {1: b"x", 2: b"y"}),
        beacon.combine(b"c", "next", {1: b"x", 3: b"y"}),
        beacon.combine(b"c", "next", {1: b"x", 2: b"z"}),
        beacon.combine(b"c", "next", {1: b"x"}),
    }
    assert base not in others
    assert len(others) == 5


def test_who_deals():
    assert beacon.dealer_count(SMALL) == 4
    assert beacon.dealers_needed(SMALL) == 2
    assert len(digest("x")) == len(SEED)
