"""A minority fills a quorum by counting one member twice, or members that do not exist."""

import pytest

from pnyx.errors import InvalidSignature
from pnyx.primitives.signature import QuorumCertificate, SigningKey, check_quorum, verify

KEYS = [SigningKey(bytes([number]) * 32) for number in range(4)]
PUBLIC_KEYS = [key.public_key for key in KEYS]


@pytest.mark.parametrize(
    "signers",
    [(0, 0, 0), (0, 1, 1), (1, 0, 1), (0, 1, -4), (-4, 0, 1), (-4, -3, 0), (0, 1, 4)],
)
def test_two_members_never_make_three(signers: tuple[int, ...]) -> None:
    signatures = tuple(KEYS[signer % 4].sign(b"statement") for signer in signers)
    assert all(
        verify(PUBLIC_KEYS[signer % 4], b"statement", signature)
        for signer, signature in zip(signers, signatures, strict=True)
    )
    with pytest.raises(InvalidSignature):
        check_quorum(QuorumCertificate(signers, signatures), PUBLIC_KEYS, b"statement", 3, verify)
