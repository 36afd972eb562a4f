"""Each defence of masked updates, as a change of the source that takes it away.

`tests/project/test_defences.py` makes one change at a time in a copy, and sees the attack's test
fail there. Rows are those of "Masked updates, row by row" in docs/threat-model.md.
"""

from typing import NamedTuple

_AGGREGATION = "src/pnyx/protocol/aggregation"
_ROUND = "src/pnyx/protocol/round"
_ATTACKS = "tests/adversarial"


class Removed(NamedTuple):
    """A defence without which a test fails.

    file, old, new: the change of the source; old occurs once. test: what fails then, as pytest
    names it. more: of the same file, what has to go as well, where two defences do for each other.
    """

    attack: str
    file: str
    old: str
    new: str
    test: str
    more: tuple[tuple[str, str], ...] = ()

    @property
    def changes(self) -> tuple[tuple[str, str], ...]:
        """What is replaced by what."""
        return ((self.old, self.new), *self.more)


def _attack(
    attack: str, file: str, old: str, new: str, test: str, *more: tuple[str, str]
) -> Removed:
    return Removed(attack, file, old, new, f"{_ATTACKS}/{test}", more)


REMOVED = (
    # --- A1, A2, A4: what is seen, and of how many ------------------------------------------------
    _attack(
        "members pool shares of a key",
        f"{_AGGREGATION}/verification.py",
        "shares.append(sharing.share(slots, noise).astype(",
        "shares.append(sharing.share(slots, noise * 0).astype(",
        "test_coalition_pools_masked_views.py",
    ),
    _attack(
        "members pool answers",
        f"{_AGGREGATION}/masked_verification/proof.py",
        "self._share_with(sharing, at, columns, secrets)",
        "pass",
        "test_masked_views_reveal_nothing.py::test_every_answer_is_blinded",
    ),
    _attack(
        "all others collude",
        "src/pnyx/protocol/noise.py",
        "return cut + _update_noise(noise.update_width, len(update), sampler)",
        "return cut",
        "test_all_others_collude.py",
    ),
    _attack(
        "too few contribute",
        f"{_ROUND}/plan.py",
        "if len(groups[group]) >= self.cohort_min",
        "if len(groups[group]) >= 1",
        "test_small_cohort.py",
    ),
    _attack(
        "too few contribute to a group",
        f"{_ROUND}/plan.py",
        "if len(groups[group]) >= self.cohort_min",
        "if len(groups[group]) >= 1",
        "test_group_below_the_floor_opened.py",
    ),
    # --- A3, A5: one set, one model ---------------------------------------------------------------
    _attack(
        "the sum of all, and of all but one",
        f"{_ROUND}/services.py",
        "stored = self.restored.get(slot)",
        "stored = None",
        "test_two_key_sums_opened.py::test_a_second_sum_is_not_released",
    ),
    _attack(
        "overlapping groups",
        f"{_ROUND}/aggregator.py",
        "if len(groups) > 1:",
        "if len(groups) > 99:",
        "test_contributor_in_two_groups.py::test_a_sum_over_two_groups_is_not_added_up",
    ),
    _attack(
        "two sets certified",
        "src/pnyx/protocol/agreement.py",
        "if not self._may_leave_lock(hash_, proposal.proof):",
        "if False:",
        "test_two_sets_certified.py",
    ),
    Removed(
        "two sets certified, or a set and an abort",
        "src/pnyx/protocol/agreement.py",
        "if not self._may_leave_lock(hash_, proposal.proof):",
        "if False:",
        "tests/simulation/test_open_bound.py",
    ),
    _attack(
        "two models",
        f"{_ROUND}/values.py",
        "if header.model_hash != plan.model_hash:",
        "if False:",
        "test_split_view_of_the_model.py",
    ),
    # --- A6: nothing is used twice ----------------------------------------------------------------
    _attack(
        "another vector under the same key",
        f"{_AGGREGATION}/masked/keys.py",
        "encode(parameters), vector_hash)",
        "encode(parameters))",
        "test_masking_key_reused.py",
    ),
    _attack(
        "something of an aborted attempt",
        f"{_ROUND}/plan.py",
        '            self.attempt.to_bytes(1, "big"),\n',
        "",
        "test_reuse_after_an_abort.py",
        ("            *aborted,\n", ""),
    ),
    _attack(
        "a second challenge after a restart",
        f"{_ROUND}/services.py",
        "stored = self.restored.get(slot)",
        "stored = None",
        "test_second_challenge.py::test_another_challenge_after_a_restart_gets_the_first_answers",
    ),
    # --- A7: who is away, and what is nowhere -----------------------------------------------------
    _attack(
        "a vector that nobody holds",
        f"{_ROUND}/holdings.py",
        "check_receipts(self._plan, self._services.crypto, message.receipts, name, seen)",
        "pass",
        "test_unheld_vector_on_closed_list.py::test_unheld_vector_on_closed_list",
    ),
    _attack(
        "a sum kept back from a set that is locked",
        f"{_ROUND}/state.py",
        "return self.wanted_sums.data(*self._would_open(value)) is not None",
        "return True",
        "test_sums_kept_back.py::test_sums_kept_back",
    ),
    _attack(
        "the same aggregators twice",
        f"{_ROUND}/attempts.py",
        "aggregators=_other_aggregators(plan),",
        "aggregators=plan.aggregators,",
        "test_sums_kept_back.py::test_sums_kept_back",
    ),
    # --- A5: two values in one view ---------------------------------------------------------------
    _attack(
        "a word of two that a leader signed, kept to oneself",
        f"{_ROUND}/proposed.py",
        "for further in range(1, passed_on_to(size) + 1):",
        "for further in ():",
        "test_two_proposals.py::test_two_values_are_found_out_before_a_release",
    ),
    # --- A8: wrong sums, wrong words --------------------------------------------------------------
    _attack(
        "a contributor that spoils every round",
        f"{_ROUND}/plan.py",
        "groups = contributor_groups(self.beacon, ids, self.phase.groups)",
        "groups = contributor_groups(bytes(32), ids, self.phase.groups)",
        "test_spoiler_under_suspicion.py::test_who_spoils_every_round_stands_out_alone",
    ),
    _attack(
        "a wrong sum",
        f"{_AGGREGATION}/masked/vectors.py",
        "if found[-1] != linear_hash:",
        "if False:",
        "test_wrong_masked_sum_certified.py::test_a_shifted_value_is_refused_and_would_decode",
    ),
    _attack(
        "evidence of a sum that is right",
        f"{_ROUND}/false_segments.py",
        "if after is not None and checkpoint(*after) == checkpoints[opened.segment]:",
        "if False:",
        "test_honest_aggregator_framed.py::test_a_right_sum_convicts_nobody",
    ),
    _attack(
        "false words before a segment",
        f"{_ROUND}/false_segments.py",
        "if not committed:",
        "if False:",
        "test_false_segments.py::test_what_came_before_is_made_up",
    ),
    _attack(
        "a segment of other bytes",
        f"{_ROUND}/false_segments.py",
        "if not verify_merkle_proof(opened.root, chunk_hash(data), at, count, proof):",
        "if False:",
        "test_false_segments.py::test_segment_of_other_bytes",
    ),
    _attack(
        "a segment after the last",
        f"{_ROUND}/false_segments.py",
        "or opened.segment >= len(walk.places):",
        "or opened.segment > len(walk.places):",
        "test_false_segments.py::test_segment_after_the_last",
    ),
    _attack(
        "a tree for everybody who tells of one wrong sum",
        f"{_ROUND}/false_segments.py",
        "    @cached_property\n    def _tree(",
        "    @property\n    def _tree(",
        "test_false_segments.py::test_liars_share_what_is_opened_of_one_wrong_sum",
    ),
    _attack(
        "receipts for checkpoints that nobody compared",
        f"{_ROUND}/aggregator.py",
        "if not vouched_for(plan) and seems_right(said):",
        "if seems_right(said):",
        "test_false_segments.py::test_receipt_that_vouches_for_checkpoints",
    ),
    _attack(
        "an aggregator convicted of what it does not say",
        f"{_ROUND}/vectors.py",
        "return isinstance(proof, FalseVectorLength) or vouched_for(plan)",
        "return True",
        "test_false_segments.py::test_honest_aggregator_framed_by_checkpoints",
    ),
    _attack(
        "other checkpoints of one wrong sum",
        f"{_ROUND}/vector_sum.py",
        "if self._offering(checked.parcel):  # who came while it was looked at",
        "if False:",
        "test_false_segments.py::test_checkpoints_that_come_while_a_sum_is_looked_at",
    ),
    _attack(
        "dockets full of large evidence",
        "src/pnyx/protocol/evidence/docket.py",
        "return size > self._params.two_bodies_bytes_max",
        "return False",
        "test_false_segments.py::test_large_evidence_leaves_room_for_small",
    ),
    _attack(
        "a docket that drops one item twice",
        "src/pnyx/protocol/evidence/docket.py",
        "for each in (each for each in loose if each not in gone):",
        "for each in loose:",
        "test_false_segments.py::test_what_leaves_leaves_once",
    ),
    _attack(
        "evidence of a sum of the right length",
        f"{_ROUND}/vectors.py",
        "if proof.length == code.sum_bytes:",
        "if False:",
        "test_honest_aggregator_framed.py::test_a_parcel_of_a_sums_length_convicts_nobody_by_it",
    ),
    _attack(
        "a sum of another length",
        f"{_ROUND}/vector_sum.py",
        "self._refuse(sender, proof)",
        "pass",
        "test_wrong_masked_sum_in_whole_machines.py::test_a_sum_of_another_length",
    ),
    _attack(
        "a wrong sum in whole machines",
        f"{_ROUND}/vector_sum.py",
        "if len(trail.progress) == code.segments and end == last:",
        "if len(trail.progress) == code.segments:",
        "test_wrong_masked_sum_in_whole_machines.py",
    ),
    _attack(
        "a false linear hash",
        f"{_ROUND}/aggregator.py",
        "return code.has_hash(checker, data, linear_hash)",
        "return True",
        "test_false_linear_hash.py::test_false_linear_hash",
    ),
    _attack(
        "a vector of another length",
        f"{_ROUND}/aggregator.py",
        "self._services.accuse(who, FalseVectorLength(header, shape.length, shape.root))",
        "pass",
        "test_vector_of_another_length.py::test_vector_of_another_length",
    ),
    _attack(
        "a receipt for a vector of another length",
        "src/pnyx/protocol/machine.py",
        "if isinstance(evidence.proof, AnyFalseVector) and member is not None:",
        "if False:",
        "test_vector_of_another_length.py::test_vouched_for_a_vector_of_another_length",
    ),
    _attack(
        "evidence of a vector of the right length",
        f"{_ROUND}/vectors.py",
        "if proof.length == code.vector_bytes:",
        "if False:",
        "test_honest_contributor_framed.py::test_a_right_vector_convicts_nobody_by_its_length",
    ),
    _attack(
        "two vectors of one contributor",
        f"{_ROUND}/aggregator.py",
        "known = self._offers.setdefault(who, offer)",
        "known = self._offers[who] = offer",
        "test_false_linear_hash.py::test_two_vectors_count_once_at_most",
    ),
    _attack(
        "a hash for rows that are foreseen",
        f"{_AGGREGATION}/masked/checked_sum.py",
        'sampler = Sampler(seed, "pnyx/masked/rows")',
        'sampler = Sampler(bytes(32), "pnyx/masked/rows")',
        "test_wrong_hash_for_foreseen_rows.py",
    ),
    _attack(
        "a wrong share of one group's sum",
        f"{_ROUND}/outcome.py",
        "self._m.wrong_releases.update(decoded[group].liars)",
        "pass",
        "test_wrong_group_sum_certified.py::test_a_wrong_share_of_one_group_is_corrected_and_named",
    ),
    _attack(
        "a wrong share dealt with care: released",
        f"{_ROUND}/inputs.py",
        "if self._m.member not in judgement.pool:",
        "if False:",
        "test_careful_dealer.py::test_the_victim_releases_no_share",
    ),
    _attack(
        "a wrong share dealt with care: decoded",
        f"{_ROUND}/outcome.py",
        "member not in judgement.pool or ",
        "",
        "test_careful_dealer.py::test_a_share_that_the_victim_releases_is_not_decoded",
    ),
    _attack(
        "a member that answers by another c",
        f"{_AGGREGATION}/verdicts.py",
        "        if clean[at]:\n",
        "        if True:\n",
        "test_wrong_key_weights.py::test_wrong_key_weights",
    ),
    _attack(
        "one aggregator vouches",
        f"{_ROUND}/vectors.py",
        "return -(-2 * count // 3)",
        "return 1",
        "test_wrong_sketch_vouched_for.py::test_wrong_sketch_vouched_for",
    ),
    _attack(
        "altered evidence",
        f"{_ROUND}/false_segments.py",
        "if after is not None and checkpoint(*after) == checkpoints[opened.segment]:",
        "if False:",
        "test_altered_evidence.py",
    ),
    # --- A9: what a contributor sends -------------------------------------------------------------
    _attack(
        "another key, unverified: told from a sum",
        f"{_AGGREGATION}/masked/coding.py",
        "    if not within:\n",
        "    if False:\n",
        "test_spoiled_masked_sum.py",
    ),
    _attack(
        "another key, unverified: its group alone",
        f"{_AGGREGATION}/masked/coding.py",
        "    if not within:\n",
        "    if False:\n",
        "test_spoiled_group.py",
    ),
    _attack(
        "sums that are not centred",
        f"{_AGGREGATION}/masked/coding.py",
        "low, high = compose(residues, *_radix_weights(parameters.primes), half)",
        "low, high = compose(residues, *_radix_weights(parameters.primes), 0)",
        "test_centred_decoding.py::test_constant_vectors_are_summed_exactly",
    ),
    _attack(
        "a weak ring",
        f"{_AGGREGATION}/masked/parameters.py",
        "if modulus_bits > _SAFE_BITS[degree]:",
        "if False:",
        "test_weak_ring_parameters.py",
    ),
    _attack(
        "too long an update",
        f"{_AGGREGATION}/verdicts.py",
        "if not holds[:, 1].all():",
        "if False:",
        "test_masked_over_norm_contribution.py::test_over_norm_with_forged_bits",
    ),
    _attack(
        "sums of squares modulo a prime",
        f"{_AGGREGATION}/verdicts.py",
        "if not holds[:, 0].all():",
        "if False:",
        "test_masked_over_norm_contribution.py::test_sums_of_squares_wrapped",
    ),
    _attack(
        "a proof of something else",
        f"{_AGGREGATION}/verdicts.py",
        "if found.accepted and not in_ring[0].all():",
        "if False:",
        "test_masked_over_norm_contribution.py::test_proof_of_something_else",
    ),
    _attack(
        "a key chosen after the sketch",
        f"{_AGGREGATION}/payloads.py",
        "if not verify_merkle_proof(claim.key_root, leaf, member, size.size, proof):",
        "if False:",
        "test_masked_over_norm_contribution.py::test_key_chosen_after_the_sketch",
    ),
    _attack(
        "bits that are none",
        f"{_AGGREGATION}/verification.py",
        "found.append((_dot(field, bits, bits) - int(bits.sum())) % field.modulus)",
        "found.append(0)",
        "test_masked_over_norm_contribution.py::test_non_boolean_slack",
    ),
    _attack(
        "a ballot of bits that are none",
        f"{_AGGREGATION}/verification.py",
        "found.append((_dot(field, bits, bits) - int(bits.sum())) % field.modulus)",
        "found.append(0)",
        "test_forged_ballot.py",
    ),
    _attack(
        "a sketch of another vector, in a whole round",
        f"{_ROUND}/false_segments.py",
        "return Progress(linear_hash, sketch_on(*stated, before.sketch, blocks, first))",
        "return Progress(linear_hash, claim.sketch if segment + 1 == code.segments else b'')",
        "test_verified_contributor_overreaches.py",
    ),
    _attack(
        "a vector made for rotated tables",
        f"{_AGGREGATION}/masked_verification/sketch.py",
        'return np.frombuffer(stream, dtype="<u2").reshape(TABLES, BLOCK)',
        'return np.tile(np.arange(BLOCK, dtype="<u2") % BUCKETS, (TABLES, 1))',
        "test_masked_sketch_is_defeated.py::test_vectors_made_for_weak_sketches",
    ),
    _attack(
        "decoding to the usual radius",
        "src/pnyx/primitives/sharing.py",
        "return min((answers - degree - 1) // 2, spare)",
        "return (answers - degree - 1) // 2",
        "test_masked_steered_verification.py::test_steered_product_is_undecided",
    ),
    _attack(
        "decoding to the usual radius, of sums",
        "src/pnyx/primitives/sharing.py",
        "return min((answers - degree - 1) // 2, spare)",
        "return (answers - degree - 1) // 2",
        "test_colluding_dealer_steers_decoding.py",
    ),
    # --- A10: copies ------------------------------------------------------------------------------
    _attack(
        "another one's vector",
        f"{_ROUND}/aggregator.py",
        "return code.has_hash(checker, data, linear_hash)",
        "return True",
        "test_copied_masked_vector.py",
    ),
    _attack(
        "another one's shares",
        f"{_ROUND}/holdings.py",
        "share_info(self._plan.context, who, self._member),",
        "share_info(self._plan.context, 2, self._member),",
        "test_replayed_contribution.py::test_copied_contribution",
    ),
    _attack(
        "another one's proof",
        f"{_AGGREGATION}/masked_verification/commitments.py",
        '"pnyx/masked-verification/sketch", context, vector_root',
        '"pnyx/masked-verification/sketch", vector_root',
        "test_copied_masked_proof.py::test_copied_masked_proof",
    ),
    # --- M4 ---------------------------------------------------------------------------------------
    _attack(
        "one poisoner in ten",
        "benchmarks/poisoning.py",
        "clip = settings.clip_norm if defence.bounded else _UNBOUNDED",
        "clip = _UNBOUNDED",
        "test_poisoned_updates.py::test_poisoned_updates_under_the_bound",
    ),
    _attack(
        "few poisoned groups",
        f"{_AGGREGATION}/robust.py",
        '    if robust.rule == "mean":\n',
        "    if True:\n",
        "test_poisoned_updates.py::test_groups_stand_without_a_bound",
    ),
)
