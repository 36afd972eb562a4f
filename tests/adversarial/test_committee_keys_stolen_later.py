"""R4: who recorded a round steals the long-term keys and the disks of its whole committee later.

Contributions are sealed to round keys, which members draw for one attempt, keep until they have
released, and erase. So nothing that is left opens a share of anybody, while each disk opened all
that its member got as long as the round went on.
"""

from tests.support.town import Town

from pnyx.errors import MalformedMessage
from pnyx.protocol.events import Forget
from pnyx.protocol.messages import Contribution
from pnyx.protocol.round.holdings import share_info

KEY_BYTES = 32


class Thief:
    """Listens to a round, and searches disks for whatever opens what it has heard."""

    def __init__(self, town, study):
        self.town = town
        assert town.run(town.in_round(study, 1))
        self.plan = town.plan(study)
        self.round_keys, self.heard = set(), {}  # public keys; (contributor, member) -> sealed
        town.wire = self.listen

    def read_round_keys(self):
        """They are public: in the certificate that every contributor gets."""
        machine = self.town.machines[self.plan.committee[0]]
        keys = machine.rounds.active[self.plan.context].member.keys
        self.round_keys = {key.encryption_key for key in keys.values()}

    def listen(self, sender, receiver, message):
        if isinstance(message, Contribution) and message.context == self.plan.context:
            who = self.town.census.index_of(message.header.signer)
            self.heard[who, message.share.member] = message.share.sealed

    def keys_of(self, index):
        """The node's long-term secret, and what on its disk is the secret of a round key."""
        public = self.town.cryptos[index].envelope_public_key
        found = {self.town.seeds[index]}
        for value in self.town.stored[index].values():
            windows = (value[at : at + KEY_BYTES] for at in range(len(value) - KEY_BYTES + 1))
            found.update(each for each in windows if public(each) in self.round_keys)
        return found

    def opened(self):
        """How many of the sealed shares can be opened now, with the keys of all members."""
        return sum(
            any(self.opens(sealed, who, member, key) for key in self.keys_of(node))
            for member, node in enumerate(self.plan.committee)
            for (who, to), sealed in self.heard.items()
            if to == member
        )

    def opens(self, sealed, who, member, key):
        info = share_info(self.plan.context, who, member)
        try:
            self.town.cryptos[0].open_envelope(key, sealed, info)
        except MalformedMessage:
            return False
        return True


def stolen():
    """Shares heard, and how many of them open in the midst of the round, and after it."""
    town = Town()
    study = town.propose()
    thief = Thief(town, study)
    everybody = len(thief.plan.contributors) * len(thief.plan.committee)
    town.run(lambda: len(thief.heard) >= everybody // 2)
    thief.read_round_keys()
    during = thief.opened()
    assert town.run(town.finished(study))
    assert sum(town.model(study)) > 0, "contributions were opened, as a sum"
    return len(thief.heard), during, thief.opened()


def test_committee_keys_stolen_later():
    heard, during, after = stolen()
    assert during > 0, "a thief that comes in time finds the keys"
    assert heard > during
    assert after == 0


def test_keys_that_were_not_erased_would_open_everything(monkeypatch):
    carry_out = Town._carry_out

    def keep(town, index, effect):
        if not isinstance(effect, Forget):
            carry_out(town, index, effect)

    monkeypatch.setattr(Town, "_carry_out", keep)
    heard, _, after = stolen()
    assert after == heard
