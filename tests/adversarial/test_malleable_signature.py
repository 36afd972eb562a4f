"""A valid signature is altered into another valid one, or made without a key (THREATS X2)."""

from pnyx.primitives.signature import SigningKey, verify

GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
KEY = SigningKey(b"s" * 32)
MESSAGE = b"one statement"


def test_the_scalar_must_be_reduced() -> None:
    signature = KEY.sign(MESSAGE)
    scalar = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 15):
        other = (scalar + multiple * GROUP_ORDER) % 2**256
        assert not verify(KEY.public_key, MESSAGE, signature[:32] + other.to_bytes(32, "little"))


def test_a_key_of_small_order_signs_nothing() -> None:
    """With the neutral element as key and commitment, S = 0 satisfies the equation for all."""
    neutral = (1).to_bytes(32, "little")
    order_two = (2**255 - 20).to_bytes(32, "little")
    order_four = bytes(32)
    non_canonical_neutral = (2**255 - 18).to_bytes(32, "little")
    for public_key in (neutral, order_two, order_four, non_canonical_neutral):
        for commitment in (neutral, order_two, order_four, non_canonical_neutral):
            for message in (b"a", b"b", b"c", b"d"):
                assert not verify(public_key, message, commitment + bytes(32))


def test_bytes_do_not_move_between_signature_and_message() -> None:
    """Joined, a signature and a message read the same wherever one ends and the other begins."""
    signature = KEY.sign(MESSAGE)
    assert verify(KEY.public_key, MESSAGE, signature)
    assert not verify(KEY.public_key, MESSAGE[1:], signature + MESSAGE[:1])
    assert not verify(KEY.public_key, signature[63:] + MESSAGE, signature[:63])


def test_a_key_has_no_second_spelling() -> None:
    signature = KEY.sign(MESSAGE)
    assert not verify(KEY.public_key + b"\x00", MESSAGE, signature)
    assert not verify(KEY.public_key[:31], MESSAGE, signature)


def test_every_bit_of_a_signature_counts() -> None:
    signature = KEY.sign(MESSAGE)
    for bit in range(0, 512, 3):
        changed = (int.from_bytes(signature, "little") ^ (1 << bit)).to_bytes(64, "little")
        assert not verify(KEY.public_key, MESSAGE, changed)
