import pytest
from msgspec.structs import replace
from tests.support.epochs import AUTHORITY, EpochTown
from tests.support.town import NETWORK

from pnyx.errors import InvalidCertificate, InvalidSignature, WrongContext
from pnyx.protocol.censuses import Censuses, fork_of

TOWN = EpochTown()
FIRST = TOWN.signed[0]


def known(key: bytes = AUTHORITY.public_key) -> Censuses:
    return Censuses(TOWN.genesis, key, AUTHORITY)


def signed(number: int, previous: bytes, members=range(8), **terms):
    return TOWN.sign(members, number, previous, **terms)


def test_a_line_of_censuses():
    censuses, root, line = known(), FIRST.root, []
    for number in (1, 2, 3):
        line.append(signed(number, root))
        root = line[-1].root
    for each in (line[2], line[0], FIRST):
        assert censuses.take(each).root == each.root
    assert [census.body.number for census in censuses.line(censuses.genesis)] == [1]
    censuses.take(line[1])
    assert [census.body.number for census in censuses.line(censuses.genesis)] == [1, 2, 3]
    assert censuses.take(line[1]) is None, "it is known"
    assert [each.root for each in censuses.all_signed()] == [FIRST.root, *(e.root for e in line)]
    assert censuses.signed(line[0].root) == line[0]
    assert censuses.signed(b"x" * 32) is None
    assert censuses.get(line[0].root).body.number == 1
    assert censuses.listing(b"x" * 32) is None
    assert censuses.successor(censuses.get(line[2].root)) is None


def test_a_census_of_the_past_is_believed_after_its_time():
    assert known().take(signed(1, FIRST.root, issued_at=0, valid_until=1)) is not None


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (replace(signed(1, FIRST.root), signature=bytes(64)), InvalidSignature),
        (signed(1, FIRST.root, network=b"n" * 32), WrongContext),
        (replace(signed(1, FIRST.root), entries=FIRST.entries), InvalidCertificate),
    ],
)
def test_a_census_that_is_none(made, error):
    censuses = known()
    with pytest.raises(error):
        censuses.take(made)
    assert len(list(censuses)) == 1


def test_a_census_before_the_first():
    later = Censuses(TOWN.genesis, AUTHORITY.public_key, AUTHORITY)
    later.genesis = known().take(signed(5, b"p" * 32))
    with pytest.raises(InvalidCertificate, match="older"):
        later.take(signed(4, b"q" * 32))


def test_who_knows_no_authority_believes_no_census():
    with pytest.raises(InvalidCertificate, match="knows no authority"):
        known(b"").take(signed(1, FIRST.root))
    fork = fork_of(signed(1, FIRST.root), signed(1, FIRST.root, range(9)))
    with pytest.raises(InvalidCertificate, match="knows no authority"):
        known(b"").convict(fork)


def test_of_a_fork_the_one_that_a_record_pins_is_kept():
    one, two = signed(1, FIRST.root), signed(1, FIRST.root, range(9))
    censuses = known()
    assert censuses.take(one) is not None
    assert censuses.take(two) is None
    assert list(censuses.forks) == [1]
    assert censuses.successor(censuses.genesis) is None
    assert censuses.take(two, wanted=two.root).root == two.root
    assert censuses.get(two.root) is not None


def test_evidence_that_comes_before_either_census():
    one, two = signed(1, FIRST.root), signed(1, FIRST.root, range(9))
    censuses = known()
    assert censuses.convict(fork_of(one, two))
    assert not censuses.convict(fork_of(two, one)), "it is the same"
    censuses.take(one)
    assert censuses.successor(censuses.genesis) is None
    assert TOWN.census.network == NETWORK
