"""Members of a committee of seven that spread a large message, without machines around them."""

from msgspec.structs import replace
from tests.support.committee import Committee

from pnyx.protocol.messages import Instance, Part, PartsRequest, Proposal
from pnyx.protocol.params import ProtocolParams
from pnyx.protocol.round.parts import Parts

C = Committee()
CONTEXT, COMMITTEE = C.plan.context, C.plan.committee
LEADER = C.plan.leader(0)
PARAMS = ProtocolParams(parted_bytes_min=1000, part_line_bytes=0)
VALUE = bytes(range(256)) * 64  # 16 KiB: four parts and a bit
LARGE = Proposal(CONTEXT, Instance.CLOSE, 0, VALUE, None, bytes(64))
RELAYS = [member for member in range(7) if member != LEADER][:5]


class Member:
    """One member's parts, and what it sent: (member, message)."""

    def __init__(self, member: int) -> None:
        services, self._box = C.services(COMMITTEE[member], params=PARAMS)
        self.away: set[int] = set()
        self.parts = Parts(services, member, self.away.__contains__)

    def sent(self) -> list[tuple[int, object]]:
        """What it sent since it was asked last."""
        said = [(C.plan.member_of[index], message) for index, message in self._box.sent]
        self._box.sent.clear()
        return said

    def hear(self, sender: int, part: Part, now: float = 0.0, view: int = 0):
        """Give it a part; returns what it completes, and whose that is."""
        return self.parts.on_part(sender, part, view, now)

    def hear_all(self, parts, sender: int = LEADER):
        """Give it parts; returns what the last one completes."""
        return [self.hear(sender, part) for part in parts][-1]


def spread(message=LARGE, away=()) -> list[tuple[int, object]]:
    """What a leader sends."""
    leader = Member(LEADER)
    leader.away |= {COMMITTEE[member] for member in away}
    leader.parts.spread(message)
    return leader.sent()


def all_parts(message=LARGE) -> list[Part]:
    """Every part of a message once, as members relay them."""
    found = {part.number: part for _, part in spread(message) if isinstance(part, Part)}
    return [replace(found[number], relay=False) for number in sorted(found)]


class Floor:
    """All seven members; what they say arrives at once, unless `corrupt` ones are silent."""

    def __init__(self, silent=()) -> None:
        self.members = {member: Member(member) for member in range(7)}
        self.silent = set(silent)
        self.read: dict[int, tuple[int, object]] = {}
        self.now = 0.0

    def deliver(self, sender: int) -> None:
        """Carry what a member said, and what follows from it."""
        queue = [(sender, *said) for said in self.members[sender].sent()]
        while queue:
            speaker, receiver, message = queue.pop(0)
            if speaker in self.silent:
                continue
            member = self.members[receiver]
            if isinstance(message, Part):
                whole = member.hear(speaker, message, self.now)
                if whole is not None:
                    self.read[receiver] = whole
            elif isinstance(message, PartsRequest):
                member.parts.on_request(speaker, message)
            queue += [(receiver, *said) for said in member.sent()]

    def pass_time(self, until: float) -> None:
        """Let members ask for what they lack."""
        while self.now < until:
            self.now += 0.5
            for number, member in self.members.items():
                if number not in self.silent:
                    member.parts.tick(self.now)
                    self.deliver(number)
