"""Questions under way."""

import pytest

from pnyx.primitives.sampling import Sampler
from pnyx.protocol.overlay.asking import Questions

PEER, OTHER = b"p" * 32, b"o" * 32


@pytest.fixture
def told():
    return []


@pytest.fixture
def questions():
    return Questions(Sampler(bytes(32), "test"), 2.0, 10.0)


def test_question_is_answered_once_by_whom_it_was_put_to(questions, told):
    nonce = questions.put(PEER, b"key", 10.0, told.append)
    assert questions.asks(PEER)
    assert not questions.asks(OTHER)
    assert questions.take(OTHER, nonce, 10.0) is None
    assert questions.take(PEER, bytes(16), 10.0) is None
    question = questions.take(PEER, nonce, 10.0)
    assert (question.key, question.deadline) == (b"key", 12.0)
    assert questions.take(PEER, nonce, 10.0) is None
    assert not questions.asks(PEER)
    assert len(questions) == 0
    assert questions.next_deadline() is None
    assert told == [], "whoever takes it tells"


def test_unanswered_questions_expire_in_order(questions, told):
    questions.put(PEER, b"", 10.0, lambda answer: told.append(("first", answer)))
    nonce = questions.put(PEER, b"", 11.0, lambda answer: told.append(("second", answer)))
    questions.put(OTHER, b"", 11.5, lambda answer: told.append(("third", answer)))
    assert questions.next_deadline() == 12.0
    questions.expire(11.9)
    assert told == []
    questions.expire(12.0)
    assert told == [("first", None)]
    questions.take(PEER, nonce, 12.0)
    questions.expire(20.0)
    assert told == [("first", None), ("third", None)]


def test_questions_to_an_unreachable_peer_are_given_up(questions, told):
    questions.put(PEER, b"", 10.0, told.append)
    questions.put(PEER, b"", 10.0, told.append)
    questions.put(OTHER, b"", 10.0, told.append)
    questions.give_up(PEER)
    questions.give_up(PEER)
    assert told == [None, None]
    assert len(questions) == 1


def test_giving_up_one_question_may_end_another(questions, told):
    """What is told may take another question to the same peer back."""
    nonces = []
    nonces.append(questions.put(PEER, b"", 1.0, lambda _: questions.take(PEER, nonces[1], 1.0)))
    nonces.append(questions.put(PEER, b"", 1.0, lambda _: questions.take(PEER, nonces[0], 1.0)))
    questions.give_up(PEER)
    assert len(questions) == 0


def asked_and_answered(questions, told, delay_s: float, peer: bytes = PEER) -> None:
    """Somebody answers so late after a question at 0, which is given up on the way if it must."""
    nonce = questions.put(peer, b"", 0.0, told.append)
    questions.expire(delay_s)
    questions.take(peer, nonce, delay_s)


def patience_s(questions) -> float:
    """What is left until a question that is put now expires."""
    questions.put(PEER, b"", 100.0, lambda _: None)
    found = questions.next_deadline() - 100.0
    questions.give_up(PEER)
    return found


def test_patience_follows_what_answers_take_late_ones_included(questions, told):
    asked_and_answered(questions, told, 0.5)
    assert patience_s(questions) == 2.0, "the least"
    for _ in range(8):
        asked_and_answered(questions, told, 3.0)
    assert told == [None], "the first came late, and the others were waited for"
    assert patience_s(questions) == 9.0
    for _ in range(8):
        asked_and_answered(questions, told, 4.0)
    assert patience_s(questions) == 10.0, "the most"
    for _ in range(15):
        asked_and_answered(questions, told, 1.0)
    assert patience_s(questions) == 3.0, "what was slow is forgotten"


def test_less_than_half_of_the_answers_cannot_stretch_patience(questions, told):
    for number in range(15):
        asked_and_answered(questions, told, 9.0 if number % 2 else 1.0)
    assert patience_s(questions) == 3.0


def test_a_late_answer_counts_once_and_from_whom_was_asked(questions, told):
    nonce = questions.put(PEER, b"", 0.0, told.append)
    questions.expire(2.0)
    for _ in range(20):
        assert questions.take(OTHER, nonce, 9.0) is None
    assert patience_s(questions) == 2.0
    assert questions.take(PEER, nonce, 3.0) is None
    for _ in range(20):
        assert questions.take(PEER, nonce, 9.0) is None
    assert told == [None]
    assert patience_s(questions) == 9.0


def test_so_many_questions_that_were_given_up_are_remembered(questions, told):
    asked = [questions.put(PEER, b"", float(at), told.append) for at in range(257)]
    questions.expire(300.0)
    assert questions.take(PEER, asked[0], 3.0) is None
    assert patience_s(questions) == 2.0, "forgotten"
    assert questions.take(PEER, asked[1], 4.0) is None
    assert patience_s(questions) == 9.0
