"""Which leader a committee follows.

A member that waits too long for its leader moves to the next view and says so to all. It also
follows as soon as f + 1 members are ahead, for one of them is honest. The leader of a view leads
once a quorum has reached it; view 0 needs nobody's leave.

Nobody waits for the leader of a view that no quorum has reached: a member stays there, and repeats
that it does, until others come. Members that went on alone would draw apart, and not meet again.
Where fewer than a quorum can do something, which is to hand over an epoch's record, so few move on.
"""

from collections.abc import Mapping

from pnyx.protocol.messages import Instance, ViewChange
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.plan import RoundPlan


class Views:
    """View numbers of all members, and this member's patience."""

    def __init__(self, plan: RoundPlan, params: ProtocolParams, member: int) -> None:
        self._plan = plan
        self._params = params
        self._member = member
        self.current = 0
        self._reached: dict[int, int] = {member: 0}
        self._changes: dict[tuple[int, Instance], ViewChange] = {}
        self._waiting_since: float | None = None
        self._failures = 0

    @property
    def leader(self) -> int:
        """The member that leads the current view."""
        return self._plan.leader(self.current)

    @property
    def leading(self) -> bool:
        """Whether this member leads, and a quorum follows."""
        if self.leader != self._member:
            return False
        return self.followed

    @property
    def followed(self) -> bool:
        """Whether enough are known to have reached the current view for its leader to lead."""
        return self._reached_by(self._plan.followers_min)

    @property
    def quorum_follows(self) -> bool:
        """Whether a quorum has, so that its leader knows what may have been locked."""
        return self._reached_by(self._plan.size.quorum)

    def _reached_by(self, members: int) -> bool:
        if self.current == 0:
            return True
        return sum(1 for view in self._reached.values() if view >= self.current) >= members

    def wait(self, now: float) -> None:
        """Start the clock on the leader, unless it runs."""
        if self._waiting_since is None:
            self._waiting_since = now

    def pause(self) -> None:
        """Wait for something that is not the leader's to give."""
        self._waiting_since = None

    def progress(self) -> None:
        """The round came a step further: stop the clock, and be half as patient as now.

        Not at once as in the beginning: lines that were slow in one step are slow in the next.
        """
        self._waiting_since = None
        self._failures = max(0, self._failures - 1)

    def deadline(self, leader_unreachable: bool) -> float | None:
        """When this member gives up on the leader; None if it waits for others, or not at all."""
        if self._waiting_since is None or not self.followed or self.leader == self._member:
            return None
        patience = min(
            self._params.view_timeout_s * 2.0**self._failures, self._params.view_timeout_s_max
        )
        if leader_unreachable:
            patience = min(patience, self._params.unreachable_leader_timeout_s)
        return self._waiting_since + patience

    def advance(self, now: float) -> None:
        """Give up on the current leader."""
        self._move(self.current + 1, now)
        self._failures = min(self._failures + 1, 16)

    def _move(self, view: int, now: float) -> None:
        self.current = view
        self._reached[self._member] = view
        self._waiting_since = now

    def on_change(self, member: int, change: ViewChange, now: float) -> bool:
        """Record a member's view; True when this member follows f + 1 others to a later view."""
        followed = self.followed
        if change.view >= self._reached.get(member, 0):
            self._reached[member] = change.view
            self._changes[member, change.instance] = change
        if self.followed and not followed and self._waiting_since is not None:
            self._waiting_since = now  # only now can the leader lead
        ahead = sorted((view for view in self._reached.values()), reverse=True)
        needed = self._plan.size.corrupt_max
        if len(ahead) > needed and ahead[needed] > self.current:
            self._move(ahead[needed], now)
            return True
        return False

    def changes(self, instance: Instance) -> Mapping[int, ViewChange]:
        """Reports of members that reached the current view, for one agreement."""
        return {
            member: change
            for (member, about), change in self._changes.items()
            if change.view >= self.current and about is instance
        }
