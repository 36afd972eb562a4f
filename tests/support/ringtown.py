"""What tests of the overlay share: towns with a corrupt fifth, and searches without a defence."""

from pnyx.protocol.overlay.params import OverlayParams
from pnyx.protocol.overlay.search import Search, _State
from pnyx.simulator.network import Link
from pnyx.simulator.overlay import Ringtown
from pnyx.simulator.overlay_adversary import RingCoalition

PARAMS = OverlayParams(cache_max=128, finger_first_s=600.0)
LINK = Link(latency_s=0.03, latency_tail_s=0.02, loss=0.01)


def corrupted_town(nodes: int, kind: str, seed: int, params: OverlayParams = PARAMS) -> Ringtown:
    """A converged ring of which every fifth node is corrupt in this way."""
    town = Ringtown(nodes, seed=seed, params=params, link=LINK, corrupt=range(3, nodes, 5))
    RingCoalition(town, kind)
    town.start_converged()
    return town


def ask_around(town: Ringtown, look_ups: int, *, every_s: float = 0.02) -> None:
    """Look-ups of random keys by random honest nodes, until all are answered."""
    honest = town.honest()
    for _ in range(look_ups):
        asker = honest[town.sampler.below(len(honest))]
        while not asker.up:
            asker = honest[town.sampler.below(len(honest))]
        town.look_up(asker, town.sampler.bytes(32))
        town.run(every_s)
    for _ in range(12):
        if not town.unanswered:
            break
        town.run(5.0)
    assert not town.unanswered, f"look-ups end in bounded time (seed {town.seed.hex()[:8]})"


class Unverified(Search):
    """Believes what the paths were told: nobody of the place is asked, nothing is checked."""

    def _close(self, wanted):
        return False

    def _is_sparse(self, place):
        return False

    def _found(self, place):
        for each in self._candidates.values():
            if each.state is not _State.SILENT:
                each.state = _State.LIVE
        return super()._found(self._place_nodes())


class Unchecked(Search):
    """Asks everybody of the place, and takes however few there are."""

    def _is_sparse(self, place):
        return False
