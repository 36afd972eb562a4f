"""The censuses of a network that one node knows: an append-only chain, and what contradicts it.

The authority signs a census now and then; each names the one before. Censuses are gossiped, and
whoever holds one has checked the authority's signature. Knowing a census is not using it: which one
an epoch uses, its record pins (`epochs`). Two censuses with one number are a *fork*: evidence
against the authority, which anybody can verify. It is kept and passed on, and no committee takes up
either of the two.

Once the last census is beyond `valid_until`, nobody knows whom the authority has revoked since.
That ends nothing that runs, but no new study opens.
"""

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from pnyx.errors import (
    InvalidCertificate,
    InvalidSignature,
    ProtocolError,
    RuleBroken,
    WrongContext,
)
from pnyx.primitives import codec
from pnyx.protocol.identity import (
    Census,
    CensusBody,
    SignedCensus,
    check_succession,
    signing_input,
    verify_census,
)
from pnyx.protocol.messages import Signature
from pnyx.protocol.ports import Crypto

_BODY_BYTES_MAX = 4096
_Body = Annotated[bytes, Meta(max_length=_BODY_BYTES_MAX)]


class CensusFork(msgspec.Struct, frozen=True, array_like=True, tag=82):
    """Two different census bodies with one number, both signed by the authority."""

    first: _Body
    first_signature: Signature
    second: _Body
    second_signature: Signature

    @property
    def number(self) -> int:
        """The number that both have. Raises MalformedMessage."""
        return codec.decode(self.first, CensusBody, bytes_max=_BODY_BYTES_MAX).number


def check_fork(fork: CensusFork, network: bytes, authority_key: bytes, crypto: Crypto) -> int:
    """Verify that an authority contradicted itself; return the number. Raises ProtocolError."""
    pairs = (fork.first, fork.first_signature), (fork.second, fork.second_signature)
    bodies = [codec.decode(body, CensusBody, bytes_max=_BODY_BYTES_MAX) for body, _ in pairs]
    if any(body.network != network for body in bodies):
        raise WrongContext("two censuses are of another network")
    if fork.first >= fork.second or bodies[0].number != bodies[1].number:
        raise RuleBroken("two censuses do not contradict each other, or are out of order")
    for body, signature in pairs:
        if not crypto.verify(authority_key, signing_input(network, body), signature):
            raise InvalidSignature("a census is not signed by this network's authority")
    return bodies[0].number


def fork_of(one: SignedCensus, other: SignedCensus) -> CensusFork:
    """The evidence that two censuses of one number are; the same whichever came first."""
    first, second = sorted((one, other), key=lambda each: each.body)
    return CensusFork(first.body, first.signature, second.body, second.signature)


class Censuses:
    """Verified censuses by root, and forks by number.

    genesis: that of the network's first committee. authority_key: empty where none is known, and
    then no other census is believed.
    """

    def __init__(self, genesis: Census, authority_key: bytes, crypto: Crypto) -> None:
        self.genesis = genesis
        self.forks: dict[int, CensusFork] = {}
        self._authority_key = authority_key
        self._crypto = crypto
        self._by_root: dict[bytes, Census] = {genesis.root: genesis}
        self._signed: dict[bytes, SignedCensus] = {}  # by root
        self._first: dict[int, SignedCensus] = {}  # that was seen of each number

    def __iter__(self) -> Iterator[Census]:
        return iter(self._by_root.values())

    def get(self, root: bytes) -> Census | None:
        """A census by its root."""
        return self._by_root.get(root)

    def signed(self, root: bytes) -> SignedCensus | None:
        """A census as it was signed."""
        return self._signed.get(root)

    def all_signed(self) -> list[SignedCensus]:
        """Every census that is kept, as it was signed, in order of the numbers."""
        kept = self._signed
        return [kept[root] for root in sorted(kept, key=lambda r: self._by_root[r].body.number)]

    def listing(self, node: bytes) -> Census | None:
        """A census that lists a node; in all of them it has one key, of which its id is a hash."""
        return next((each for each in self if node in each), None)

    def successor(self, census: Census) -> Census | None:
        """The census that follows one, unless the authority signed two of that number."""
        if census.body.number + 1 in self.forks:
            return None
        return next((each for each in self if _follows(census, each)), None)

    def line(self, census: Census) -> Iterator[Census]:
        """All censuses known to follow one, in order."""
        following = self.successor(census)
        while following is not None:
            yield following
            following = self.successor(following)

    def take(self, signed: SignedCensus, wanted: bytes | None = None) -> Census | None:
        """Verify a census; return it if it is news. What contradicts another is a fork.

        wanted: root of a census that a record pins. Of a fork no second census is kept but this
        one: the committee took it up before anybody there knew of the other. Raises ProtocolError.
        """
        if signed.root in self._signed:
            return None
        if not self._authority_key:
            raise InvalidCertificate("this node knows no authority whose census it could check")
        census = verify_census(
            signed,
            network=self.genesis.network,
            authority_key=self._authority_key,
            crypto=self._crypto,
            now=0,  # it may serve to verify what is long past
        )
        number = census.body.number
        if number < self.genesis.body.number:
            raise InvalidCertificate("a census is older than the network's first epoch")
        first = self._first.setdefault(number, signed)
        if first.root != census.root:
            self.forks.setdefault(number, fork_of(first, signed))
            if census.root != wanted:
                return None
        self._by_root.setdefault(census.root, census)
        self._signed[census.root] = signed
        return census

    def convict(self, fork: CensusFork) -> bool:
        """Verify evidence that the authority signed two censuses; False if that is known.

        Raises ProtocolError.
        """
        if not self._authority_key:
            raise InvalidCertificate("this node knows no authority whom it could hold to account")
        number = check_fork(fork, self.genesis.network, self._authority_key, self._crypto)
        return self.forks.setdefault(number, fork) is fork


def _follows(census: Census, following: Census) -> bool:
    try:
        check_succession(census, following)
    except ProtocolError:
        return False
    return True
