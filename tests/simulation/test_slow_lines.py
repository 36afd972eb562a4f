"""Committees on slow lines: what a leader says takes longer than members would wait for it.

Then views change, each new leader says it anew, and lines that are full get more to carry. That
must not feed on itself: a round ends, and not many times the bytes of an undisturbed one are sent.
"""

from msgspec.structs import replace

from pnyx.protocol.events import Notice, RoundCertified
from pnyx.protocol.messages import PARTED_BYTES_MAX
from pnyx.protocol.params import ProtocolParams
from pnyx.simulator import Scenario, Simulation
from pnyx.simulator.live_rounds import LiveRoundParameters, scenario

# 24 members agree on answers of 47 KB: over whole lines that are 5.4 s of the leader's.
SLOW = scenario(LiveRoundParameters(nodes=36, vector_length=72, window_s=0.0, kib_per_s=200), 1)
UNDISTURBED_BYTES = 10_000_000  # all of the study, set-up included
UNTIL_S = 60.0


def ended(run: Scenario) -> tuple[bool, int]:
    """Whether round 1 has a record after a minute, and the bytes that were sent."""
    found: list[RoundCertified] = []

    def listen(_now: float, _node: int, notice: Notice) -> None:
        if isinstance(notice, RoundCertified) and notice.round_number == 1:
            found.append(notice)

    simulation = Simulation(run, listen=listen)
    simulation.scheduler.run(UNTIL_S, lambda: bool(found))
    return bool(found), simulation.network.bytes_sent


def test_a_slow_line_makes_no_storm() -> None:
    done, sent = ended(SLOW)
    assert done
    assert sent < 3 * UNDISTURBED_BYTES


def test_leaders_that_say_everything_themselves_do_not_get_through() -> None:
    whole = ProtocolParams(parted_bytes_min=PARTED_BYTES_MAX)
    done, sent = ended(replace(SLOW, params=whole))
    assert not done
    assert sent > 3 * UNDISTURBED_BYTES
