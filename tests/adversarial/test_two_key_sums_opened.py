"""Two sums of keys, of a set and of the same set without one contributor, open that contributor.

A member releases its share of one sum of a round, for the set that a quorum locked, and gives the
same signed release again whatever it is asked later (`RoundServices.sign_once`). Where members sign
a second one, a committee that is asked for both sums gives away the victim's key, and with it its
update in the clear. From one sum, or from sums of sets that differ by two, nothing is read.
"""

import numpy as np
import pytest
from tests.support.committee import Committee
from tests.support.masked import draw, in_ring
from tests.support.town import phase

from pnyx.errors import DecodingError
from pnyx.primitives import codec
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation import direct, verification
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked.parameters import SHARED_RINGS
from pnyx.protocol.aggregation.masked.vectors import VectorCode, sum_vectors
from pnyx.protocol.messages import Release
from pnyx.protocol.round.services import RoundServices
from pnyx.protocol.round.values import contribution_context

EVERYBODY = (2, 3, 4, 5, 6)
VICTIM = 4
WITHOUT_VICTIM = (2, 3, 5, 6)


class Round:
    """A committee that holds the key shares of five masked updates, and those updates masked."""

    def __init__(self, ring):
        self.parameters = in_ring(ring, 3000, 12, 24)
        bounds = Bounds(1, 0, 0, 1, key_length=ring.degree, key_fields=len(ring.primes))
        self.c = Committee(phase_=phase(3001, bounds=bounds, masked=self.parameters))
        self.code = VectorCode(self.parameters, self.c.plan.context)
        self.updates = dict(zip(EVERYBODY, draw(self.parameters, len(EVERYBODY)), strict=True))
        self.made = {who: self.mask(who) for who in EVERYBODY}
        self.shares = {who: self.share(who) for who in EVERYBODY}
        self.services = [self.start(member) for member in range(self.c.size.size)]

    def mask(self, who):
        seed, context = bytes([who]) * 32, contribution_context(self.c.plan.context, who)
        return self.code.mask(self.updates[who], seed, context)

    def share(self, who):
        """What each member holds of one contribution."""
        seed, context = bytes([who]) * 32, contribution_context(self.c.plan.context, who)
        count, key = np.array([1]), self.made[who].key
        proven = verification.prove(count, self.c.bounds, self.c.size, seed, context, key)
        return [verification.read_payload(p, self.c.bounds, self.c.size) for p in proven.payloads]

    def start(self, member, stored=None):
        return self.c.services(self.c.plan.committee[member], stored)[0]

    def release(self, member, chosen):
        """What a member shows when it is told that this set is accepted."""
        held = [self.shares[who][member] for who in chosen]
        summed = verification.sum_share(held, self.c.bounds, self.c.size)
        body = Release(self.c.plan.context, member, set_hash(chosen), summed, ())
        return self.services[member].sign_once("release", body)

    def keys(self, chosen, members=None):
        """The sum of the keys of a set, from the releases for it."""
        length = verification.summed_length(self.c.bounds, self.c.size)
        widths = verification.key_widths(self.c.bounds, self.c.size)
        shares = {}
        for member in range(self.c.size.size) if members is None else members:
            body = self.c.reader.member_body(self.release(member, chosen))
            if body.accepted == set_hash(chosen):
                shares[member] = direct.read_released(
                    body.shares, length, self.c.size.packing, widths
                )
        found = direct.decode_sum(self.c.size, shares, length).keys
        return tuple(key[: self.parameters.degree] for key in found if len(key))

    def read(self, keys):
        """What keys open of the victim's masked vector alone."""
        vector = b"".join(self.made[VICTIM].segments)
        alone = b"".join(sum_vectors(self.parameters, [iter([vector])]))
        return self.code.unmask(alone, keys, 1)

    def difference(self, left, right):
        primes = self.parameters.primes
        return tuple((a - b) % p for a, b, p in zip(left, right, primes, strict=True))


def set_hash(chosen):
    return digest("test", bytes(chosen))


@pytest.fixture(params=SHARED_RINGS, ids=["P0", "P1"])
def attacked(request):
    return Round(request.param)


def signs_again(self, slot, body):
    """A member without the rule."""
    return self.sign(body)


def test_a_second_sum_is_not_released(attacked):
    total = attacked.keys(EVERYBODY)
    with pytest.raises(DecodingError):
        attacked.keys(WITHOUT_VICTIM)
    assert attacked.read(total) is None  # the sum opens no single vector


def test_nor_after_a_restart(attacked):
    first = [attacked.release(member, EVERYBODY) for member in range(attacked.c.size.size)]
    attacked.services = [
        attacked.start(member, {"release": codec.encode(signed)})
        for member, signed in enumerate(first)
    ]
    with pytest.raises(DecodingError):
        attacked.keys(WITHOUT_VICTIM)


def test_two_sums_of_members_that_sign_again_open_the_victim(attacked, monkeypatch):
    monkeypatch.setattr(RoundServices, "sign_once", signs_again)
    key = attacked.difference(attacked.keys(EVERYBODY), attacked.keys(WITHOUT_VICTIM))
    wanted = attacked.made[VICTIM].key
    assert [part.tolist() for part in key] == [part.tolist() for part in wanted]
    assert attacked.read(key).tolist() == attacked.updates[VICTIM].tolist()


def test_sets_that_differ_by_two_open_no_single_vector(attacked, monkeypatch):
    monkeypatch.setattr(RoundServices, "sign_once", signs_again)
    rest = attacked.keys(WITHOUT_VICTIM[:-1])
    assert attacked.read(attacked.difference(attacked.keys(EVERYBODY), rest)) is None


def test_as_many_second_releases_as_members_are_corrupt_open_nothing(attacked, monkeypatch):
    """2q - k > f: two quorums share more members than are corrupt, and those release once."""
    attacked.keys(EVERYBODY)
    corrupt = range(attacked.c.size.corrupt_max)
    for member in corrupt:
        honest = attacked.services[member]
        monkeypatch.setattr(honest, "sign_once", lambda slot, body, m=honest: m.sign(body))
    with pytest.raises(DecodingError):
        attacked.keys(WITHOUT_VICTIM)
