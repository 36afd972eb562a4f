"""A minority fills a quorum by counting one member twice, or members that do not exist."""

import pytest
from tests.support.weakened import weaken

from pnyx.errors import InvalidSignature
from pnyx.primitives import signature
from pnyx.primitives.signature import QuorumCertificate, SigningKey, check_quorum, verify

KEYS = [SigningKey(bytes([number]) * 32) for number in range(4)]
PUBLIC_KEYS = [key.public_key for key in KEYS]


STUFFED = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (0, 1, -4), (-4, 0, 1), (-4, -3, 0)]
IN_ORDER = "if not previous < signer < len(public_keys):"


def check(signers: tuple[int, ...]) -> None:
    signatures = tuple(KEYS[signer % 4].sign(b"statement") for signer in signers)
    assert all(
        verify(PUBLIC_KEYS[signer % 4], b"statement", given)
        for signer, given in zip(signers, signatures, strict=True)
    )
    check_quorum(QuorumCertificate(signers, signatures), PUBLIC_KEYS, b"statement", 3, verify)


@pytest.mark.parametrize("signers", [*STUFFED, (0, 1, 4)])
def test_two_members_never_make_three(signers: tuple[int, ...]) -> None:
    with pytest.raises(InvalidSignature):
        check(signers)


@pytest.mark.parametrize("signers", STUFFED)
def test_the_order_of_signers_is_the_defence(
    monkeypatch: pytest.MonkeyPatch, signers: tuple[int, ...]
) -> None:
    weaken(monkeypatch, signature, (IN_ORDER, "if False:"))
    check(signers)
