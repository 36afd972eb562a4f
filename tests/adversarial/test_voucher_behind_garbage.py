"""A corrupt contributor shields an aggregator that vouched falsely (THREATS A8, A9).

Members convict an aggregator by its receipt for a header that turns out false. The contributor,
its friend, sends something else in the aggregator's name first: a receipt that does not verify,
for this header or for another one. What members remember is to be the receipt that comes after.
"""

import pytest
from msgspec.structs import replace
from tests.support.masked_round import AGGREGATORS, verified_committee
from tests.support.weakened import succeeds, weaken

from pnyx.errors import InvalidSignature, ProtocolError, RuleBroken
from pnyx.protocol.messages import Contribution, Signed
from pnyx.protocol.round import holdings
from pnyx.protocol.round.dispute import Disputes
from pnyx.protocol.round.holdings import Holdings
from pnyx.protocol.round.values import header_hash

C = verified_committee()
WHO, MEMBER, STRANGER = 2, 4, 3
VOUCHER = AGGREGATORS[1]


def false_header(changed: int = 0) -> Signed:
    """A header that states another sketch than its vector has."""
    masked = C.reader.header(C.header(WHO)).masked
    assert masked is not None
    assert masked.proof is not None
    sketch = bytearray(masked.proof.sketch)
    sketch[changed] ^= 1
    return C.header(WHO, masked=replace(masked, proof=replace(masked.proof, sketch=bytes(sketch))))


def member() -> Holdings:
    services, _ = C.services(MEMBER)
    unreadable = Disputes(services, MEMBER).unreadable
    return Holdings(services, C.reader, MEMBER, C.private_key(MEMBER), unreadable)


def shown(header: Signed, *signers: tuple[int, int]) -> Contribution:
    """The contribution with receipts in the name of an aggregator, signed by some node."""
    receipts = tuple(C.receipt(aggregator, header, signer=by) for aggregator, by in signers)
    return replace(C.contribution(WHO, MEMBER), header=header, receipts=receipts)


def test_voucher_behind_garbage_in_its_name():
    held, lie = member(), false_header()
    garbage = (AGGREGATORS[0], STRANGER), (VOUCHER, STRANGER)
    with pytest.raises(InvalidSignature):
        held.add_contribution(shown(lie, *garbage), C.opened, receipt=True)
    assert held.vouchers(WHO, header_hash(lie)) == (), "garbage convicts nobody"
    with pytest.raises(ProtocolError):  # the other receipt is still garbage
        held.add_contribution(shown(lie, garbage[0], (VOUCHER, VOUCHER)), C.opened, receipt=True)
    assert [each.aggregator for each in held.vouchers(WHO, header_hash(lie))] == [VOUCHER]


def test_voucher_behind_garbage_for_another_header():
    held, lie = member(), false_header()
    with pytest.raises(RuleBroken, match="before enough"):
        held.add_contribution(shown(false_header(1), (VOUCHER, STRANGER)), C.opened, receipt=True)
    with pytest.raises(RuleBroken, match="before enough"):
        held.add_contribution(shown(lie, (VOUCHER, VOUCHER)), C.opened, receipt=True)
    assert [each.aggregator for each in held.vouchers(WHO, header_hash(lie))] == [VOUCHER]


def test_what_is_kept_verifies(monkeypatch):
    """Kept unseen, the garbage would be what is shown of the aggregator."""
    check = "check_receipt(self._plan, self._services.crypto, receipt, name)"
    weaken(monkeypatch, holdings, (f"                {check}\n", ""))
    assert succeeds(test_voucher_behind_garbage_in_its_name)
    assert succeeds(test_voucher_behind_garbage_for_another_header)
