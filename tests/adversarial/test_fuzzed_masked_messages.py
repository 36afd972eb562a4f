"""D3, A8, A9: where updates are masked, or verified besides, no bytes of a peer get anywhere.

As `test_fuzzed_messages.py`, in a study whose updates travel masked and in one where their norm is
verified. The corrupt node leads the first view, answers the challenge, aggregates and contributes.
Every message of a kind arrives first with bytes flipped, cut or put in, said by it; and whatever it
signs itself arrives first altered and signed anew, so that no signature stops it. The round still
ends, its sum is that of the honest updates, and nobody else is blamed.
"""

from collections.abc import Callable
from functools import lru_cache

import pytest
from tests.support.fuzzing import (
    COPIES_IN_A_STUDY,
    RSS_GROWTH_BYTES_MAX,
    SLOW_S,
    Mutations,
    SignedAnew,
    Study,
    all_heard,
    corpus,
    first_actors,
    rules_met,
    settled_growth,
    troubled_study,
)
from tests.support.town import Town, masked_manifest, verified_manifest
from tests.transport_kit import resident_bytes

from pnyx.protocol.manifest import Manifest
from pnyx.protocol.messages import (
    CloseVote,
    ContributionHeader,
    Message,
    Release,
    RoundKey,
    VerifyResponse,
)
from pnyx.simulator.crypto import IdealCrypto

KINDS = sorted(each.__name__ for each in Message.__args__)
COPIES_OF_A_BODY = 25  # of each message that carries one, in one study
MANIFESTS: dict[str, Callable[..., Manifest]] = {
    "masked": masked_manifest,
    "verified": verified_manifest,
}
# Of studies whose leader aggregates, contributes, and gives some of the answers that decide, so
# that they are disputed. Draws change with every word of manifests: then look for others.
NONCES = {"masked": 23, "verified": 4}
WHOLE = 2**20  # releases carry shares of keys: they come in parts unless nothing does


@lru_cache(maxsize=2)
def studies(mode: str) -> dict[str, tuple[Study, int]]:
    """Kind -> a study in which it is said, and how often honest nodes hear it."""
    plan = MANIFESTS[mode](Town().count, nonce=bytes([NONCES[mode]]) * 32)
    leader, aggregators = first_actors(plan)
    assert leader in aggregators
    found: dict[str, tuple[Study, int]] = {}
    for study in (Study(plan, leader, parted_bytes_min=WHOLE), Study(plan, leader)):
        found |= {kind: (study, len(said)) for kind, said in corpus(study).items()}
    return found


MODES = list(MANIFESTS)
COUNTS = [100, pytest.param(1_000_000, marks=pytest.mark.full)]


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_message_is_attacked(mode: str) -> None:
    assert sorted(studies(mode)) == KINDS


def mutations_of(mode: str, kind: str, copies: int, seed: int) -> Mutations:
    """Alter messages of a kind, where they are said."""
    study, heard = studies(mode)[kind]
    return Mutations(kind, study, heard, copies, seed)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_mutated_message(mode: str, kind: str, count: int) -> None:
    sizes = []
    for seed, first in enumerate(range(0, count, COPIES_IN_A_STUDY)):
        copies = min(count - first, COPIES_IN_A_STUDY)
        mutations = mutations_of(mode, kind, copies, seed)
        all_heard(mutations)
        assert mutations.slowest_s < SLOW_S
        sizes.append(resident_bytes())
    assert settled_growth(sizes) < RSS_GROWTH_BYTES_MAX


REACHED = {  # a rule that only the handler of a kind knows
    "SumRequest": "a sum is asked for out of order, or over nodes that were not drawn",
    "VectorOffer": "a linear hash is not the one that its contributor committed to",
    "VectorReceipt": "the receipt for a masked vector does not verify",
    "VectorSum": "an aggregator shows linear hashes that nobody committed to",
}


@pytest.mark.parametrize("kind", list(REACHED))
@pytest.mark.parametrize("mode", MODES)
def test_altered_messages_about_vectors_reach_their_handlers(mode: str, kind: str) -> None:
    mutations = mutations_of(mode, kind, 2_000 if kind == "SumRequest" else 400, 1)
    assert REACHED[kind] in rules_met(mutations, mutations.study)


# What a body says is looked at, whatever it is signed with: a rule that only its reader knows.
LOOKED_AT: dict[type, str] = {
    RoundKey: "a signed input names a member that does not exist",
    CloseVote: "a close vote lists somebody twice, or out of order",
    VerifyResponse: "a signed input belongs to another round",
    Release: "a signed input belongs to another round",
    ContributionHeader: "a linear hash is not the one that its contributor committed to",
}
SIGNED_COUNTS = [100, pytest.param(100_000, marks=pytest.mark.full)]


@lru_cache(maxsize=4)
def signed_by(mode: str, body: type) -> Study:
    """A study whose liar signs such bodies: a contributor that aggregates, or the first leader."""
    if body is not ContributionHeader:
        return studies(mode)["Part"][0]
    town = Town()
    study = town.propose(plan=MANIFESTS[mode](town.count))
    town.run(town.in_round(study, 1))
    plan = town.plan(study)
    others = plan.contributor_set.intersection(plan.aggregators) - {plan.committee[0]}
    return Study(MANIFESTS[mode](town.count), min(others))


@pytest.mark.parametrize("count", SIGNED_COUNTS)
@pytest.mark.parametrize("body", list(LOOKED_AT))
@pytest.mark.parametrize("mode", MODES)
def test_what_a_liar_signs_anew(mode: str, body: type, count: int) -> None:
    study = signed_by(mode, body)
    altered, rules = 0, set()
    for seed in range(count):
        anew = SignedAnew(body, study, COPIES_OF_A_BODY, seed)
        rules |= rules_met(anew, study)
        altered += anew.count
        if altered >= count:
            break
    assert LOOKED_AT[body] in rules


@pytest.mark.parametrize("kind", ["Contribution", "MemberInput"])
@pytest.mark.parametrize("mode", MODES)
def test_a_machine_that_believes_any_signature_would_act(
    monkeypatch: pytest.MonkeyPatch, mode: str, kind: str
) -> None:
    mutations = mutations_of(mode, kind, 400, 0)
    monkeypatch.setattr(IdealCrypto, "verify", lambda *_: True)
    with pytest.raises(AssertionError):
        troubled_study(mutations, mutations.study)
