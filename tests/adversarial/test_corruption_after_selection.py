"""R4: nodes are corrupted once it is known who acts.

The list of a round says who may act; which of them are the committee follows from a beacon that
opens afterwards. And keys of a draw live in memory for its few seconds: whoever steals the
long-term keys of a whole region later reads no secret that was dealt in it. (Round keys of
committees: `test_committee_keys_stolen_later`.)
"""

from tests.support.regions import STUDY, Exchange, Ring, beacon_of
from tests.support.town import real

from pnyx.errors import MalformedMessage
from pnyx.primitives.hashing import digest
from pnyx.protocol.selection.region.messages import Deal, Presence, Roll
from pnyx.protocol.selection.region.selector import list_order
from pnyx.protocol.selection.region.signer import Signer
from pnyx.protocol.selection.region.statements import sealing_info

RING = Ring(36, corrupt_max=4, make=real)
COUNT, SIZE = 30, 24


def overheard():
    """All messages of a draw, and its list."""
    heard = []

    def listen(sender, receiver, message):
        heard.append((sender, receiver, message))
        return [(receiver, message)]

    return heard, Exchange(RING, COUNT, spoil=listen).run()


def opened_by_long_term_keys(heard):
    """How many sealed shares open with what a thief finds on the disks: the signing seeds."""
    rolls = {m.region: m for _, _, m in heard if isinstance(m, Roll)}
    names = {}
    for _, _, message in heard:
        if isinstance(message, Presence):
            names[message.region, message.node] = message
    found = 0
    for deal in (m for _, _, m in heard if isinstance(m, Deal)):
        roll = rolls[deal.region]
        for place, presence in enumerate(roll.presences):
            secret = digest("test/region/secret", presence.node)
            info = sealing_info(
                deal.context, deal.region, HASHES[deal.region], deal.dealt.dealer, place
            )
            try:
                RING.crypto[presence.node].open_envelope(secret, deal.sealed[place], info)
            except MalformedMessage:
                continue
            found += 1
    return found


HASHES = {}


def keep_hashes(monkeypatch):
    share = Signer._share_secret

    def remember(signer):
        HASHES[signer._region] = signer._roll_hash
        return share(signer)

    monkeypatch.setattr(Signer, "_share_secret", remember)


def test_long_term_keys_that_are_stolen_later_open_nothing(monkeypatch):
    keep_hashes(monkeypatch)
    heard, proof = overheard()
    assert proof is not None
    assert opened_by_long_term_keys(heard) == 0


def test_sealed_to_long_term_keys_everything_would_open(monkeypatch):
    keep_hashes(monkeypatch)
    called = Signer._on_call

    def lazy(signer, sender, call):
        """Use the long-term secret in the place of a fresh one."""
        secret = digest("test/region/secret", signer._s.node_id)
        monkeypatch.setattr(signer._s, "sampler", _Fixed(secret, signer._s.sampler))
        called(signer, sender, call)
        signer._s.sampler = signer._s.sampler.real

    monkeypatch.setattr(Signer, "_on_call", lazy)
    heard, proof = overheard()
    assert proof is not None
    assert opened_by_long_term_keys(heard) > 100


class _Fixed:
    def __init__(self, secret, real):
        self.secret, self.real = secret, real

    def bytes(self, count):
        return self.secret[:count]


def test_the_list_does_not_tell_the_committee():
    """Before the beacon opens every listed node is as likely to be a member as any other."""
    actors = tuple(RING.ids[:COUNT])
    seats = dict.fromkeys(actors, 0)
    draws = 600
    for number in range(draws):
        for node in list_order(beacon_of(number), STUDY, 1, "committee", actors)[:SIZE]:
            seats[node] += 1
    mean = draws * SIZE / COUNT
    deviation = (draws * SIZE / COUNT * (1 - SIZE / COUNT)) ** 0.5
    assert all(abs(count - mean) < 4.5 * deviation for count in seats.values())
