"""The model of each study: a parcel that its chain names, held or pulled by whoever needs it.

The manifest names the first model of a study, each record the one after its round; small or large,
a model is always a parcel (see `chunks`), and everybody may read it. So one rule serves all sizes:

    made here     the proposer's own model; members keep what they computed, then `adopt` it
    held          announced by name with other gossip, and served to whoever asks
    needed        pulled, of those who made it and those who announced it, in turn
    replaced      forgotten, as soon as the next record is in

Needed is what this node has a part in: its owner joined, proposed or asks for the model, or the
node is a member of the round that starts from it; and the last model of a finished study, as long
as all models together take no more than `models_bytes_max`. Who made a model signed the record that
names it, so most of them have it; who announces one may say what it likes. So one of each is asked
in turn, in random order, and a coin tells which of the two comes first: announcers, lest few
members serve everybody; makers, lest a coalition holds everybody up that announces first, and then
says nothing or trickles. A corrupt member knows the next model's name before anybody else does. Who
is silent is passed over, who trickles is left, and who lies is never asked again (`fetches`). When
nobody is left, strangers are asked.

Names that are announced before they are needed are bounded. Those of whoever announced most go
first, so who invents names pushes out its own.

Nothing here sees a byte of a model but the proposer's.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest
from itertools import zip_longest

from pnyx.errors import RuleBroken
from pnyx.primitives.sampling import Sampler
from pnyx.protocol.chunks import chunks_of, describe
from pnyx.protocol.gossip import Gossip
from pnyx.protocol.manifest import NO_MODEL
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.parcels import EVERYBODY, Parcels
from pnyx.protocol.study import StudyState

_HINTS_MAX = 256  # names of models that were announced before this node needed them
_HINTED_PEERS_MAX = 16  # of one of them


def model_name(content: bytes) -> bytes:
    """Name of a model: that of the parcel it travels as; zero for a study that has none."""
    return describe(chunks_of(content)).name if content else NO_MODEL


def model_scope(study: bytes) -> str:
    """What the models of a study are kept for: the study itself."""
    return f"chain/study/{study.hex()}"


class Models:
    """Which models one node holds and pulls; all rules of `machine` about them are here.

    needed: whether this node has a part in what the study does with its model now. told: hears of
    each model once it is held. Call `tick` from time to time.
    """

    def __init__(
        self,
        params: ProtocolParams,
        sampler: Sampler,
        parcels: Parcels,
        gossip: Gossip,
        peers: Callable[[], Sequence[bytes]],
        needed: Callable[[StudyState], bool],
        told: Callable[[StudyState], None],
    ) -> None:
        self._params = params
        self._sampler = sampler
        self._parcels = parcels
        self._gossip = gossip
        self._peers = peers
        self._needed = needed
        self._told = told
        self._hints: dict[bytes, list[bytes]] = {}  # model -> who announced it
        self._ask_at: dict[bytes, float] = {}  # study -> when to look for more sources
        self._bytes: dict[bytes, int] = {}  # study -> of its model, held or pulled

    def keep(self, study: bytes, content: bytes) -> None:
        """Keep the first model of a study that this node proposes. Raises RuleBroken."""
        if content:
            self._parcels.keep(chunks_of(content), (EVERYBODY,), model_scope(study))

    def adopt(self, state: StudyState) -> None:
        """Keep for the study a model that is held for an attempt, or for another study."""
        if not state.holds_model and state.model_hash in self._parcels:
            self._parcels.share(state.model_hash, (EVERYBODY,), model_scope(state.study))

    def release(self, study: bytes, name: bytes) -> None:
        """Need a model no longer: another one took its place."""
        self._ask_at.pop(study, None)
        self._bytes.pop(study, None)
        self._parcels.forget(name, model_scope(study))
        if name not in self._parcels:
            self._gossip.withdraw_model(name)

    def look(self, state: StudyState, now: float) -> None:
        """Take the model of a study if it is here, or start to pull it if it is needed."""
        if state.holds_model:
            return
        name, length = state.model_hash, state.manifest.model_bytes
        if name == NO_MODEL or name in self._parcels:
            self.adopt(state)
            self._take(state)
        elif state.study not in self._ask_at and (self._needed(state) or self._fits(state)):
            try:
                self._parcels.fetch(
                    name,
                    length,
                    self._sources(state),
                    lambda _: self._take(state),
                    failed=lambda _: self._none(state),
                    scope=model_scope(state.study),
                )
            except RuleBroken:
                return  # no room now: `tick` tries again
            self._bytes[state.study] = length
            self._ask_at[state.study] = now + self._params.gossip_interval_s

    def on_announced(self, peer: bytes, names: Iterable[bytes]) -> None:
        """A peer holds these models, it says: a source of those that are being pulled.

        Others are remembered, for the record that names one of them may still be on its way.
        """
        for name in names:
            self._parcels.add_sources(name, (peer,))
            if name not in self._parcels:
                hinted = self._hints.setdefault(name, [])
                if peer not in hinted and len(hinted) < _HINTED_PEERS_MAX:
                    hinted.append(peer)
        self._bound_hints()

    def tick(self, states: Iterable[StudyState], now: float) -> None:
        """Look for sources of what is still not here."""
        for state in states:
            self.look(state, now)
            if state.study in self._ask_at and now >= self._ask_at[state.study]:
                self._ask_at[state.study] = now + self._params.gossip_interval_s
                if self._parcels.lacks_sources(state.model_hash):
                    self._parcels.add_sources(state.model_hash, self._stranger())

    def _bound_hints(self) -> None:
        """Drop names that only peers with many names announced; of equal ones the oldest."""
        excess = len(self._hints) - _HINTS_MAX
        if excess <= 0:
            return
        names_of = Counter(peer for peers in self._hints.values() for peer in peers)
        worst = nlargest(
            excess, self._hints, key=lambda name: min(names_of[peer] for peer in self._hints[name])
        )
        for name in worst:
            del self._hints[name]

    def _stranger(self) -> list[bytes]:
        """Anybody: who is no likely holder costs the patience that a likely one may need."""
        peers = self._peers()
        return [peers[at] for at in self._sampler.sample(len(peers), min(1, len(peers)))]

    def _sources(self, state: StudyState) -> list[bytes]:
        """Whom to ask: of those who announced the model and those who made it, one each in turn."""
        sources: list[bytes] = []
        hinted, makers = (
            [known[at] for at in self._sampler.sample(len(known), len(known))]
            for known in (self._hints.get(state.model_hash, []), state.model_makers)
        )
        for pair in zip_longest(hinted, makers):
            mixed = (pair[at] for at in self._sampler.sample(2, 2))
            sources += [peer for peer in mixed if peer is not None]
        return sources

    def _fits(self, state: StudyState) -> bool:
        """Whether the result of a study is to be had, though this node had no part in it."""
        total = sum(self._bytes.values()) + state.manifest.model_bytes
        return state.finished and total <= self._params.models_bytes_max

    def _none(self, state: StudyState) -> None:
        """There is no such model: the manifest names it with a length that it has not."""
        self._bytes.pop(state.study, None)

    def _take(self, state: StudyState) -> None:
        name = state.model_hash
        if name != NO_MODEL:
            self._parcels.grant(name, (EVERYBODY,), model_scope(state.study))
            self._gossip.announce_model(name)
        self._ask_at.pop(state.study, None)
        self._hints.pop(name, None)
        self._bytes[state.study] = state.manifest.model_bytes
        state.holds_model = True
        self._told(state)
