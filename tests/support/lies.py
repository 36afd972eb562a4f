"""What a member of a whole town says that answers a challenge wrong, validly signed."""

from collections.abc import Callable

import msgspec
from tests.support.evidence import flipped
from tests.support.town import Town

from pnyx.protocol.identity import sign_body
from pnyx.protocol.messages import Answers, MemberInput, Signed
from pnyx.simulator.adversary import HeadersSeen

Alter = Callable[[Answers], Answers]


def flip_values(answers: Answers) -> Answers:
    """The same with the last answer wrong."""
    return msgspec.structs.replace(answers, values=flipped(answers.values))


class AnswersLied:
    """Hears all that a town sends, and signs other answers for whom it is asked to.

    told: how many lies so far, that a test can see that there was one.
    """

    def __init__(self, town: Town) -> None:
        self._town = town
        self.told = 0
        self._headers = HeadersSeen()

    def note(self, message: object) -> None:
        """Remember the header that a message carries."""
        self._headers.note(message)

    def instead(
        self, sender: int, message: object, alter: Alter = flip_values
    ) -> MemberInput | None:
        """The sender's response with other answers; None if the message is none, or is empty."""
        if not isinstance(message, MemberInput) or not message.answers or not message.answers.held:
            return None
        lied = self._headers.answering(message, alter(message.answers), self._signs(sender))
        self.told += lied is not None and lied != message
        return lied

    def _signs(self, sender: int) -> Callable[[msgspec.Struct], Signed]:
        census, crypto = self._town.census, self._town.cryptos[sender]
        return lambda body: sign_body(crypto, census.network, census.node_ids[sender], body)
