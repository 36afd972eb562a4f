"""Noise through a whole round: what is opened is the true sum and the noise of all who counted."""

import numpy as np
from tests.support.town import Town, manifest, phase

from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.messages import Contribution
from pnyx.protocol.noise import choose_noise
from pnyx.protocol.study import read_body

ENTRIES, COUNTS = 600, 200
CLIP = 30
PLAIN = Bounds(ENTRIES + COUNTS, ENTRIES, CLIP, 3)
CHOSEN = choose_noise(PLAIN, CLIP, 3, 2.0, 1.0)


def vector(index: int, _round: int, _length: int) -> np.ndarray:
    """An update of norm 20 and counts that tell the node."""
    update = np.zeros(ENTRIES, dtype=np.int64)
    update[index] = 20
    return np.concatenate([update, np.full(COUNTS, index % 4)])


def noisy_study():
    noisy = phase(
        PLAIN.length, bounds=CHOSEN.bounds, metrics_length=COUNTS, clip=CLIP, noise=CHOSEN.noise
    )
    return manifest(PLAIN.length, [noisy])


def opened(town: Town, study: bytes) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Run to the end: who counted (census indices), the sum of updates, and published counts."""
    assert town.run(town.finished(study), 120)
    body = read_body(town.machines[0].studies[study].records[1])
    update = np.array(town.model(study))[:ENTRIES]
    return list(body.accepted), update, np.array(body.metrics)


def truth(accepted: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """What the same owners' vectors add up to without noise."""
    total = sum(vector(index, 1, 0) for index in accepted)
    return total[:ENTRIES], total[ENTRIES:]


def test_sum_is_the_true_one_and_noise_of_the_stated_width() -> None:
    town = Town(vector=vector)
    accepted, update, counts = opened(town, town.propose(plan=noisy_study()))
    assert len(accepted) >= 3
    true_update, true_counts = truth(accepted)
    noise = CHOSEN.noise
    for found, width in (
        (update - true_update, noise.update_width),
        (counts - CHOSEN.bounds.count_scale * true_counts, noise.count_width),
    ):
        expected = width * np.sqrt(len(accepted))
        assert 0.8 < found.std() / expected < 1.2
        assert abs(found.mean()) < 5 * expected / np.sqrt(len(found))
        assert abs(found).max() < 6 * expected


def test_contributor_killed_while_it_sends_gives_the_same_noise_again() -> None:
    """Two noises on one vector would average out; the second header would be an offence, too."""
    killed: list[int] = []

    def wire(sender: int, receiver: int, message: object) -> None:
        if isinstance(message, Contribution) and not killed:
            killed.append(sender)
            town.crash(sender)

    town = Town(vector=vector, wire=wire)
    study = town.propose(plan=noisy_study())
    assert town.run(lambda: bool(killed), 60)
    town.restart(killed[0])
    accepted, update, _ = opened(town, study)
    assert killed[0] in accepted
    headers = {(message.header.signer, message.header.body) for message in town.sent(Contribution)}
    assert len(headers) == len({signer for signer, _ in headers}) >= len(accepted)
    expected = CHOSEN.noise.update_width * np.sqrt(len(accepted))
    assert 0.8 < (update - truth(accepted)[0]).std() / expected < 1.2
