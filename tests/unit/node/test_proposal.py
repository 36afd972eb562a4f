import json
import math
import re

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from pnyx.config import parse_toml
from pnyx.errors import ConfigError, TrainingError
from pnyx.learning import initial_model, mlp
from pnyx.learning.programs import encode_program
from pnyx.node.learning import check_study, choose_verified, cut_share, read_manifest_body
from pnyx.node.proposal import make_proposal, read_proposal, unfit_networks
from pnyx.node.study_file import StudyFile, template
from pnyx.node.study_phases import FINEST_BITS
from pnyx.primitives.hashing import digest
from pnyx.protocol.aggregation.ballots import Ballot
from pnyx.protocol.aggregation.bounds import Bounds
from pnyx.protocol.aggregation.masked_verification.bounds import colluding_bound, masks_of
from pnyx.protocol.aggregation.robust import PLAIN_MEAN, Robust
from pnyx.protocol.manifest import Range, read_manifest
from pnyx.protocol.messages import Signed
from pnyx.protocol.models import model_name
from pnyx.protocol.noise import NO_NOISE, noise_max, noise_norm_max
from pnyx.protocol.params import DEFAULT_PARAMS
from pnyx.protocol.privacy import epsilon, phase_rho, study_rho

NETWORK = b"n" * 32
NODE = b"p" * 32
VALID = template(("a", "b"), "activity.windows", "activity", 6)


def read(tmp_path, text: str):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return read_proposal(path, NETWORK, NODE)


def test_template_is_a_valid_study(tmp_path) -> None:
    proposal = read(tmp_path, VALID)
    manifest = read_manifest_body(proposal.manifest)
    check_study(manifest)
    assert manifest.network == NETWORK
    assert manifest.columns == ("a", "b")
    assert manifest.initial_model == model_name(proposal.model)
    assert [phase.kind for phase in manifest.phases] == ["train", "evaluate"]
    assert all(phase.noise != NO_NOISE for phase in manifest.phases), "noise is on by default"
    assert 5 < epsilon(study_rho(manifest)) < 6
    assert [phase.noise.honest_min for phase in manifest.phases] == [16, 16]


def test_noise_is_off_when_the_proposer_says_so(tmp_path) -> None:
    manifest = read_manifest_body(read(tmp_path, without_noise(VALID)).manifest)
    assert all(phase.noise == NO_NOISE for phase in manifest.phases)
    assert study_rho(manifest) == math.inf
    check_study(manifest)


def without_noise(text: str) -> str:
    return re.sub("noise_multiplier = .*", "noise_multiplier = 0", text)


def test_the_template_calls_verified_masked_updates_experimental() -> None:
    [line] = [line for line in VALID.splitlines() if "verified = true" in line]
    assert "EXPERIMENTAL" in line


def test_column_names_are_quoted_in_the_template(tmp_path) -> None:
    odd = 'x"]\n# '
    text = template((odd, "b"), "activity.windows", "activity", 6)
    assert read_manifest_body(read(tmp_path, text).manifest).columns[0] == odd


def test_one_file_proposed_twice_is_two_studies(tmp_path) -> None:
    first, second = read(tmp_path, VALID), read(tmp_path, VALID)
    assert first.manifest != second.manifest
    assert first.model != second.model


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("title =", "titel =", "titel is not a setting; did you mean title"),
        ('title = "What are people doing?"', "", "title is missing"),
        ("cohort_min = 32", "cohort_min = 0", "cohort_min is 0; it must be a whole number from 2"),
        ("cohort_min = 32", "cohort_min = 1", "cohort_min is 1; it must be a whole number from 2"),
        ('kind = "train"', 'kind = "train"\ncohort_min = 1', "phases[0].cohort_min is 1; it must"),
        ("cohort_min = 32", "cohort_min = 41", "are 1 x 41, 40 and 50"),
        ("drawn = 50", "drawn = 39", "target <= drawn, and these are 1 x 32, 40 and 39"),
        ('kind = "train"', 'kind = "vote"', "one of evaluate, poll, statistics, train"),
        ('kind = "train"', 'kind = "statistics"', "statistics phase needs ranges"),
        ("[model]", "[ranges]\na = [0, 1]\n[model]", "ranges names every column"),
        ("[model]", "[ranges]\na = [0, 1]\nb = [1, 1]\n[model]", "from a lower to a higher"),
        ("[model]", "[ranges]\na = [0, 1]\nb = [1]\n[model]", "ranges.b has 1 entries"),
        ('label = "activity"', "", "needs a [model] table, and a label"),
        ("clip_norm = 2.0", 'clip_norm = 2.0\nstandardise = "study"', "that it does not collect"),
        ("rounds = 20", "rounds = 1.5", "phases[0].rounds is 1.5"),
        ("learning_rate = 0.3", "learning_rate = nan", "training.learning_rate is nan"),
        ("clip_norm = 2.0", "clip_norm = 2.0\nfraction_bits = 1", "is 1, too coarse"),
        (
            "clip_norm = 2.0",
            "clip_norm = 2.0\nfraction_bits = 2",
            "set training.fraction_bits = 3, or training.clip_norm = 4.0.",
        ),
        (
            "clip_norm = 2.0",
            "clip_norm = 0.000001\nfraction_bits = 1",
            "; set training.fraction_bits = 24, or",
        ),
        ("clip_norm = 2.0", "clip_norm = 2.0\nfraction_bits = 11", "phases[0]: norm_max is too"),
        ("noise_multiplier = 5.0", "noise_multiplier = 1000", "set privacy.noise_multiplier ="),
        ("noise_multiplier = 5.0", "noise_multiplier = -1", "privacy.noise_multiplier is -1"),
        ("noise_multiplier = 5.0", "honest_min = 33", "phases[0]: privacy.honest_min is 33, and"),
        ("hidden = [64]", "hidden = [4096, 4096]", "16818182 parameters, above 10000000"),
        ("hidden = [64]", "hidden = [0]", "model.hidden[0] is 0"),
        ("classes = 6", "", "model.classes is missing"),
        ("classes = 6", "classes = 6\nweights = 'x'", "weights needs model.program"),
        ("classes = 6", "program = 'none.json'", "leave out hidden and classes"),
        ("hidden = [64]", "hidden = [1,1,1,1,1,1,1,1]", "model.hidden has 8 entries"),
        ('    "a",', '    "b",', "named twice"),
        ('label = "activity"', 'label = "a"', "is the label as well"),
        ("join_window_s = 600.0", "join_window_s = 0", "join_window_s is 0"),
        ("[model]", "[model", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, expected) -> None:
    assert old in VALID
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, VALID.replace(old, new))
    assert expected in str(caught.value)
    assert str(tmp_path / "study.toml") in str(caught.value)


def test_missing_and_oversized_files_are_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_proposal(tmp_path / "none.toml", NETWORK, NODE)
    with pytest.raises(ConfigError, match="larger than"):
        read(tmp_path, "#" * 300_000)


def test_manifests_beyond_the_protocols_bound_are_refused(tmp_path) -> None:
    columns = tuple(f"{number:04d}" + "x" * 190 for number in range(400))
    text = template(columns, "activity.windows", "activity", 6).replace("[64]", "[8]")
    with pytest.raises(ConfigError, match="exceeds the limit"):
        read(tmp_path, text)


def test_model_follows_from_the_nonce() -> None:
    study = parse_toml(VALID.encode(), StudyFile, "here", ConfigError)
    proposal = make_proposal(study, NETWORK, NODE, b"1" * 32, "here")
    assert proposal == make_proposal(study, NETWORK, NODE, b"1" * 32, "here")
    expected = initial_model(mlp((2, 64, 6)), digest("pnyx/proposal/model", b"1" * 32))
    assert proposal.model == expected


POLL = """
title = "Where to meet?"
purpose = "Decide together."
purpose_term = "dpv:ResearchAndDevelopment"
category = "poll.answers"
columns = ["a", "b", "c"]
cohort_min = 4
join_window_s = 10.0

[privacy]
noise_multiplier = 1.0

[[phases]]
kind = "poll"
rounds = 1
target = 5
drawn = 6
cohort_min = 5
ballot = { kind = "choice", options = 3 }
"""


def test_a_poll_needs_no_model(tmp_path) -> None:
    proposal = read(tmp_path, POLL)
    manifest = read_manifest_body(proposal.manifest)
    check_study(manifest)
    assert (manifest.program, manifest.label, proposal.model) == (b"", "", b"")
    (phase,) = manifest.phases
    assert (phase.kind, phase.cohort_min, phase.metrics_length) == ("poll", 5, 3)
    assert phase.bounds.ballot == Ballot("choice", 3)
    assert phase.noise.count_width > 0
    assert phase_rho(phase) <= 0.5


@pytest.mark.parametrize(
    ("ballot", "expected"),
    [
        ('{ kind = "choice", options = 2 }', r"cannot be a ballot of this kind\.$"),
        (
            '{ kind = "approval", options = 3 }',
            r"phases\[0\].ballot.chosen_max is 0: an approval admits between one and all of its "
            r"options\.$",
        ),
        (
            '{ kind = "ranking", options = 3, chosen_max = 1 }',
            r"phases\[0\].ballot.chosen_max is 1: only an approval has a largest number",
        ),
        (
            '{ kind = "ranking", options = 2 }',
            r"phases\[0\].ballot.options is 2: a ranking orders 3 to 24 candidates\.$",
        ),
        (
            '{ kind = "choice", options = 3 }\ncount_max = 2',
            r"phases\[0\].count_max is 2: the answers of a ballot are 0 or 1; leave it out\.$",
        ),
        ('{ kind = "lottery", options = 3 }', "one of approval, choice, ranking"),
    ],
)
def test_ballots_that_cannot_be(tmp_path, ballot, expected) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, POLL.replace('{ kind = "choice", options = 3 }', ballot))


@pytest.mark.parametrize(("kind", "columns"), [("statistics", 341), ("poll", 1024)])
def test_columns_of_which_a_record_could_not_publish_all(tmp_path, kind, columns) -> None:
    def text(count: int) -> str:
        names = ", ".join(f'"{number}"' for number in range(count))
        ranges = "".join(f"{number} = [0, 1]\n" for number in range(count))
        asked = POLL.replace('columns = ["a", "b", "c"]', f"columns = [{names}]")
        asked = asked.replace('ballot = { kind = "choice", options = 3 }', "")
        asked = asked.replace('kind = "poll"', f'kind = "{kind}"')
        return without_noise(asked) + (f"[ranges]\n{ranges}" if kind == "statistics" else "")

    (phase,) = read_manifest_body(read(tmp_path, text(columns)).manifest).phases
    assert phase.metrics_length == 1024
    expected = (
        rf"phases\[0\]: of the study's {columns + 1} columns a {kind} phase would publish "
        rf"\d+ sums, above 1024; name fewer columns\.$"
    )
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, text(columns + 1))


def test_statistics_come_before_training(tmp_path) -> None:
    text = VALID.replace("[model]", "[ranges]\na = [0, 1]\nb = [-5, 5]\n[model]").replace(
        "[[phases]]",
        '[[phases]]\nkind = "statistics"\nrounds = 1\ntarget = 40\ndrawn = 50\n[[phases]]',
        1,
    )
    manifest = read_manifest_body(read(tmp_path, text).manifest)
    assert [phase.kind for phase in manifest.phases] == ["statistics", "train", "evaluate"]
    assert manifest.ranges == (Range(0.0, 1.0), Range(-5.0, 5.0))
    assert manifest.phases[0].metrics_length == manifest.phases[0].bounds.length == 7
    check_study(manifest)


QUERY = VALID.replace(
    'label = "activity"',
    'label = "activity"\n'
    'query = "SELECT avg(x) AS a, max(y) AS b, z AS activity FROM data GROUP BY z"',
)


def test_study_may_ask_by_a_query(tmp_path) -> None:
    manifest = read_manifest_body(read(tmp_path, QUERY).manifest)
    check_study(manifest)
    assert manifest.query.startswith("SELECT avg(x) AS a")
    assert manifest.columns == ("a", "b")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("avg(x) AS a", "avg(x) AS c"), "lacks a, which the study states"),
        (("z AS activity", "z AS activity, z AS c"), "gives c, which the study does not state"),
        (("avg(x)", "avg(x"), "cannot be read near"),
        (("avg(x)", "getenv(x)"), "The function getenv is not allowed"),
        (("FROM data", "FROM read_text('/etc/passwd')"), "the table data only"),
        (("SELECT avg", " " * 8192 + "SELECT avg"), "query"),
    ],
)
def test_query_that_no_node_would_run_is_refused_to_its_proposer(
    tmp_path, change, expected
) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        read(tmp_path, QUERY.replace(*change))
    assert "study.toml" in str(caught.value)


PROGRAM = mlp((2, 3, 6))
WITH_FILES = VALID.replace("hidden = [64] ", 'program = "model.json"').replace("classes = 6", "")


def propose_program(tmp_path, text: str, arrays=None, program: bytes = encode_program(PROGRAM)):
    (tmp_path / "model.json").write_bytes(program)
    if arrays is not None:
        (tmp_path / "weights.safetensors").write_bytes(save(arrays))
        text = text.replace("[model]", '[model]\nweights = "weights.safetensors"')
    return read(tmp_path, text)


def weights() -> dict[str, np.ndarray]:
    return {
        each.name: np.full(each.shape, number, np.float32)
        for number, each in enumerate(PROGRAM.parameters)
    }


def test_a_program_from_a_file_is_proposed_with_drawn_weights(tmp_path) -> None:
    proposal = propose_program(tmp_path, WITH_FILES)
    manifest = read_manifest_body(proposal.manifest)
    check_study(manifest)
    assert manifest.program == encode_program(PROGRAM)
    assert proposal.model == initial_model(PROGRAM, digest("pnyx/proposal/model", manifest.nonce))


def test_weights_from_a_file_begin_the_study_but_for_local_ones(tmp_path) -> None:
    parameters = list(PROGRAM.parameters)
    parameters[1] = msgspec.structs.replace(parameters[1], local=True)
    program = msgspec.structs.replace(PROGRAM, parameters=tuple(parameters))
    proposal = propose_program(tmp_path, WITH_FILES, weights(), encode_program(program))
    model = np.frombuffer(proposal.model, "<f4")
    assert model.tolist() == [0.0] * 6 + [2.0] * 18 + [3.0] * 6
    assert read_manifest_body(proposal.manifest).initial_model == model_name(proposal.model)


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("extra", np.zeros(3, np.float32), "lacks extra"),
        ("0.bias", None, "lacks 0.bias"),
        ("0.bias", np.zeros(4, np.float32), "0.bias is float32 of shape (4,)"),
        ("0.bias", np.zeros(3, np.float64), "0.bias is float64"),
        ("0.bias", np.full(3, np.nan, np.float32), "NaN or infinite"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, name, array, expected) -> None:
    arrays = weights()
    arrays.pop(name, None)
    if array is not None:
        arrays[name] = array
    with pytest.raises(ConfigError) as caught:
        propose_program(tmp_path, WITH_FILES, arrays)
    assert expected in str(caught.value)
    assert "weights.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (b"{}", "cannot be read"),
        (b" " * 40_000, "is larger than 32768 bytes"),
        (encode_program(mlp((3, 6))), "takes 3 columns, and the study names 2"),
        (encode_program(msgspec.structs.replace(PROGRAM, loss=0)), "refused"),
        (encode_program(mlp((2, 4096, 4096, 6))), "more than 10000000 parameters"),
    ],
)
def test_programs_that_cannot_be_proposed(tmp_path, program, expected) -> None:
    with pytest.raises(ConfigError, match=expected):
        propose_program(tmp_path, WITH_FILES, program=program)


def test_masks_of_another_length_than_the_models_are_declined(tmp_path) -> None:
    """What the committee verifies is the same: the counts, and a key."""
    text = without_noise(VALID.replace('kind = "train"', 'kind = "train"\nmasked = true'))
    manifest = read_manifest_body(read(tmp_path, text).manifest)
    train, evaluate = manifest.phases
    shorter = msgspec.structs.replace(train.masked, length=train.masked.length - 1)
    phases = (msgspec.structs.replace(train, masked=shorter), evaluate)
    with pytest.raises(TrainingError, match="does not match its program"):
        check_study(msgspec.structs.replace(manifest, phases=phases))


def test_updates_too_long_to_be_shared_are_masked(tmp_path) -> None:
    text = without_noise(VALID.replace("hidden = [64]", "hidden = [4096]"))
    train, evaluate = read_manifest_body(read(tmp_path, text).manifest).phases
    assert train.masked is not None
    assert (train.bounds.bounded, train.bounds.key_length) == (0, train.masked.degree)
    assert train.masked.length > DEFAULT_PARAMS.vector_length_max
    assert train.masked.contributors_max >= train.drawn
    assert evaluate.masked is None


def test_short_updates_are_masked_on_request(tmp_path) -> None:
    asked = 'kind = "train"\nmasked = true'
    text = without_noise(VALID.replace('kind = "train"', asked))
    (train, _) = read_manifest_body(read(tmp_path, text).manifest).phases
    assert train.masked is not None
    assert train.clip == 4096
    assert train.masked.value_bits == 14  # as many as an entry with all of the norm needs


def masked_study(bits: int | None, **training: object) -> str:
    """The template without noise, masked with so many bits a value."""
    stated = "" if bits is None else f"value_bits = {bits}\n"
    keys = "".join(f"{key} = {value}\n" for key, value in training.items())
    text = VALID.replace('kind = "train"\n', f'kind = "train"\nmasked = true\n{stated}')
    return without_noise(text.replace("[training]\n", f"[training]\n{keys}"))


def test_fewer_bits_than_values_need_are_refused(tmp_path) -> None:
    expected = (
        r"phases\[0\]: value_bits is 13, too few: .* entries of up to 4096, which need 14; set "
    )
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, masked_study(13, fraction_bits=11))
    (train, _) = read_manifest_body(
        read(tmp_path, masked_study(14, fraction_bits=11)).manifest
    ).phases
    assert train.masked is not None
    assert train.masked.value_bits == 14


def test_updates_are_rounded_as_finely_as_the_stated_bits_hold(tmp_path) -> None:
    (train, _) = read_manifest_body(read(tmp_path, masked_study(12)).manifest).phases
    assert train.masked is not None
    assert train.masked.value_bits == 12
    assert train.clip <= train.masked.value_max < 2 * train.clip


def test_bits_that_force_too_coarse_a_rounding_are_named_with_the_least_that_do(tmp_path) -> None:
    """Nobody wrote fraction_bits: it is value_bits that is too few."""
    with pytest.raises(
        ConfigError, match=r"value_bits is 5, .* which need 6; set .* phases\[0\].value_bits = 6\."
    ):
        read(tmp_path, masked_study(5))
    (train, _) = read_manifest_body(read(tmp_path, masked_study(6)).manifest).phases
    assert train.masked is not None
    assert train.masked.value_bits == 6


@pytest.mark.parametrize("terms", ["", "masked = false"])
def test_bits_of_values_that_are_not_masked_are_refused(tmp_path, terms) -> None:
    text = VALID.replace('kind = "train"', f'kind = "train"\n{terms}\nvalue_bits = 9')
    with pytest.raises(ConfigError, match=r"phases\[0\]: value_bits are those of masked updates"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("model", "masked", "bits"),
    [("[64]", "", 10), ("[64]", "masked = true", 11), ("[1000, 900]", "", 11)],
)
def test_units_are_as_fine_as_can_be_proven_and_no_coarser_where_nothing_is(
    tmp_path, model, masked, bits
) -> None:
    """A norm of 16 fits a proof in units of a 1,024th; under masks there is none to fit."""
    text = without_noise(VALID.replace("[64]", model).replace("clip_norm = 2.0", "clip_norm = 16"))
    text = text.replace('kind = "train"', f'kind = "train"\n{masked}')
    manifest = read_manifest_body(read(tmp_path, text).manifest)
    check_study(manifest)
    assert manifest.phases[0].clip == 16 << bits


def test_units_that_cannot_be_proven_are_told_what_to_lower(tmp_path) -> None:
    text = without_noise(VALID.replace("clip_norm = 2.0", "clip_norm = 16\nfraction_bits = 11"))
    expected = (
        r"too large to be proven; set training.fraction_bits = 10, or training.clip_norm = 8.0, or "
        r"phases\[0\].masked = true\.$"
    )
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, text)
    masked = text.replace('kind = "train"', 'kind = "train"\nmasked = true')
    assert read_manifest_body(read(tmp_path, masked).manifest).phases[0].clip == 16 << 11


def test_more_than_masks_add_up_are_told_to_form_groups(tmp_path) -> None:
    many = without_noise(SMALL_FLOOR.replace("drawn = 50", "drawn = 600", 1))
    expected = (
        r"drawn is 600 and groups is 1, .* 600 contributors, above 256; set "
        r"phases\[0\].groups = 3, or phases\[0\].drawn = 256"
    )
    asked = ("masked = true", "verified = true")
    texts = [many.replace('kind = "train"', f'kind = "train"\n{each}') for each in asked]
    for text in (*texts, many.replace("[64]", "[4096]")):
        with pytest.raises(ConfigError, match=expected):
            read(tmp_path, text)
    text = texts[0].replace('kind = "train"', 'kind = "train"\ngroups = 3')
    assert read_manifest_body(read(tmp_path, text).manifest).phases[0].groups == 3


def test_counts_that_noise_cannot_cover_are_told_what_to_lower(tmp_path) -> None:
    """No key of training would help a poll."""
    loud = POLL.replace("noise_multiplier = 1.0", "noise_multiplier = 1000")
    loud = loud.replace('ballot = { kind = "choice", options = 3 }', "count_max = 1048576")
    expected = (
        r"too wide to be drawn; set privacy.noise_multiplier = 31.2, or phases\[0\].count_max = "
        r"32768\.$"
    )
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, loud)


def test_what_is_too_long_to_be_shared_cannot_be_asked_to_be(tmp_path) -> None:
    text = VALID.replace("[64]", "[4096]").replace(
        'kind = "train"', 'kind = "train"\nmasked = false'
    )
    with pytest.raises(ConfigError, match="masked is false, and an update has 36870 values"):
        read(tmp_path, text)


def test_noise_widens_masked_values(tmp_path) -> None:
    """Nothing of the noise is cut away: it is what hides an owner."""
    text = VALID.replace('kind = "train"', 'kind = "train"\nmasked = true')
    (train, _) = read_manifest_body(read(tmp_path, text).manifest).phases
    assert train.masked is not None
    assert train.masked.value_max - noise_max(train.noise.update_width) >= train.clip
    assert math.isfinite(phase_rho(train))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("masked", "true"),
        ("verified", "true"),
        ("value_bits", "9"),
        ("groups", "2"),
        ("robust", '{ rule = "trimmed", tolerated = 1 }'),
    ],
)
@pytest.mark.parametrize("kind", ["evaluate", "poll", "statistics"])
def test_keys_that_only_training_has_are_refused_by_their_names(tmp_path, kind, key, value) -> None:
    expected = rf"phases\[1\].{key}: only a phase that trains .*; leave it out\.$"
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, VALID.replace('kind = "evaluate"', f'kind = "{kind}"\n{key} = {value}'))


VERIFIED = VALID.replace('kind = "train"', 'kind = "train"\nverified = true')


def test_verified_updates_travel_masked_with_bounds_that_fit_them(tmp_path) -> None:
    manifest = read_manifest_body(read(tmp_path, without_noise(VERIFIED)).manifest)
    train, evaluate = manifest.phases
    bounds = train.masked_bounds
    assert bounds is not None
    assert train.masked == masks_of(bounds)
    assert train.clip <= bounds.clip_max <= train.clip + 1
    assert train.bounds.masked_norm_max == bounds.norm_scaled
    assert bounds.colluding_max == colluding_bound(train.drawn)
    assert evaluate.verified is None


def test_units_are_as_fine_as_can_be_verified(tmp_path) -> None:
    """Eleven bits are too many for so large a group; one bit more than was chosen is, too."""
    [train, _] = read_manifest_body(read(tmp_path, without_noise(VERIFIED)).manifest).phases
    assert train.clip < int(2.0 * 2.0**FINEST_BITS)
    finer = Bounds(train.masked.length, train.masked.length, 2 * train.clip, 0)
    with pytest.raises(ValueError, match="cannot be verified"):
        choose_verified(finer, train.drawn, None)


def test_what_is_verified_covers_the_noise(tmp_path) -> None:
    (train, _) = read_manifest_body(read(tmp_path, VERIFIED).manifest).phases
    assert train.masked_bounds is not None
    noise = noise_norm_max(train.noise.update_width, train.masked.length)
    assert 0 < noise <= train.masked_bounds.clip_max - train.clip
    assert math.isfinite(phase_rho(train))
    with pytest.raises(
        ConfigError,
        match=r"its norm cannot be verified .*; set privacy.noise_multiplier = .*, or phases\[0\]."
        r"verified = false\.$",
    ):
        read(tmp_path, VERIFIED.replace("hidden = [64]", "hidden = [4096]"))


def test_units_of_verified_groups_are_those_of_one_group(tmp_path) -> None:
    """Eight groups of 45 are verified as 45 are, whose sums leave more room than those of 360."""
    one = without_noise(VERIFIED.replace("drawn = 50", "drawn = 45"))
    [single, _] = read_manifest_body(read(tmp_path, one).manifest).phases
    text = one.replace(
        'kind = "train"',
        'kind = "train"\ngroups = 8\nrobust = { rule = "trimmed", tolerated = 2 }',
    ).replace("target = 40\ndrawn = 45", "target = 320\ndrawn = 360", 1)
    proposal = read(tmp_path, text)
    manifest = read_manifest(Signed(NODE, proposal.manifest, bytes(64)), NETWORK, DEFAULT_PARAMS)
    check_study(manifest)
    [train, _] = manifest.phases
    assert (train.groups, train.group_size_max) == (8, 45)
    found = train.clip, train.masked, train.verified
    assert found == (single.clip, single.masked, single.verified)


def test_so_many_verified_groups_that_no_one_sum_could_be_over_all(tmp_path) -> None:
    text = without_noise(VERIFIED).replace('kind = "train"', 'kind = "train"\ngroups = 32')
    text = text.replace("target = 40\ndrawn = 50", "target = 1024\ndrawn = 1100", 1)
    [train, _] = read_manifest_body(read(tmp_path, text).manifest).phases
    assert (train.group_size_max, train.clip) == (35, 2 << 10)


def test_phases_that_no_units_serve_together(tmp_path) -> None:
    """Each takes some, and the sentence says which."""
    text = without_noise(VERIFIED)
    masked = text[text.index("[[phases]]") :].split("[[phases]]")[1]
    masked = masked.replace("verified = true", "masked = true\nvalue_bits = 6")
    expected = (
        r"no training.fraction_bits serves all phases that train: phases\[0\] takes 5, 6, 7, 8, 9; "
        r"phases\[2\] takes 3; change one"
    )
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, f"{text}\n[[phases]]{masked}")


def test_verified_norms_that_groups_would_leave_room_for(tmp_path) -> None:
    text = VERIFIED.replace("cohort_min = 32", "cohort_min = 16")
    text = text.replace("target = 40\ndrawn = 50", "target = 80\ndrawn = 100")
    with pytest.raises(
        ConfigError,
        match=r"its norm cannot be verified .*, or privacy.honest_min = 11, or "
        r"phases\[0\].groups = 2, or",
    ):
        read(tmp_path, text)
    few = text.replace('kind = "evaluate"', 'kind = "evaluate"\ncohort_min = 8')
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, few)
    assert "honest_min" not in str(caught.value), "eight owners are all that a sum is over"


def test_units_leave_values_room_for_noise(tmp_path) -> None:
    """In finer ones the norm is verified all the same, but owners would cut all of an update."""
    text = VERIFIED.replace("cohort_min = 32", "cohort_min = 64")
    text = text.replace("target = 40\ndrawn = 50", "target = 80\ndrawn = 100")
    (train, _) = read_manifest_body(read(tmp_path, text).manifest).phases
    assert train.clip == 2 << 3
    finer = text.replace("[training]\n", "[training]\nfraction_bits = 4\n")
    expected = r"phases\[0\]: values of 9 bits are too few: .* set training.fraction_bits = 3, or"
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, finer)


@pytest.mark.parametrize(
    ("drawn", "bits", "share"), [(50, 9, 511 / 1024), (50, 8, None), (100, 9, 127 / 1024)]
)
def test_to_what_share_of_the_clip_owners_cut_entries(tmp_path, drawn, bits, share) -> None:
    """511 of 512 is no cut: an update of 582 entries is clipped to 500 before it is rounded."""
    text = VERIFIED.replace("[training]\n", f"[training]\nfraction_bits = {bits}\n")
    text = without_noise(text.replace("drawn = 50", f"drawn = {drawn}"))
    (train, evaluate) = read_manifest_body(read(tmp_path, text).manifest).phases
    assert cut_share(train) == share
    assert cut_share(evaluate) is None
    (masked, _) = read_manifest_body(read(tmp_path, masked_study(None)).manifest).phases
    assert cut_share(masked) is None


def test_owners_clip_lower_by_half_the_root_of_the_length_rounded_up(tmp_path) -> None:
    """√636 is 26 then: entries of a norm of 524 are 511 at most, and none is cut."""
    text = without_noise(VERIFIED.replace("[training]\n", "[training]\nfraction_bits = 9\n"))
    (train, _) = read_manifest_body(read(tmp_path, text.replace("[64]", "[70]")).manifest).phases
    assert (train.masked.length, train.masked.value_max) == (636, 511)
    assert cut_share(msgspec.structs.replace(train, clip=524)) is None
    assert cut_share(msgspec.structs.replace(train, clip=525)) == 511 / 525


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (
            'kind = "train"\nverified = true\nmasked = false',
            r"verified is about masked updates: .*; leave out verified, or masked = false\.$",
        ),
        ('kind = "train"\nverified = 1', "verified"),
        ('kind = "train"\nverified = true\nvalue_bits = 12', "value_bits of verified updates"),
    ],
)
def test_what_verified_does_not_go_with(tmp_path, terms, expected) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, without_noise(VALID.replace('kind = "train"', terms)))
    with pytest.raises(ConfigError, match="only a phase that trains"):
        read(tmp_path, VALID.replace('kind = "evaluate"', 'kind = "evaluate"\nverified = true'))


def test_a_missing_program_and_bad_weights_are_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"model.json cannot be read: no such file"):
        read(tmp_path, WITH_FILES)
    (tmp_path / "weights.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    (tmp_path / "model.json").write_bytes(encode_program(PROGRAM))
    text = WITH_FILES.replace("[model]", '[model]\nweights = "weights.safetensors"')
    with pytest.raises(ConfigError, match="is no safetensors file"):
        read(tmp_path, text)


# The template draws 50 owners for a target of 40.
GROUPED = 'kind = "train"\ngroups = 4\ncohort_min = 10\n'


def grouped(tmp_path, more: str = "", text: str = VALID):
    (train, evaluate) = read_manifest_body(
        read(tmp_path, text.replace('kind = "train"', GROUPED + more, 1)).manifest
    ).phases
    assert (evaluate.groups, evaluate.robust) == (1, PLAIN_MEAN)
    return train


def test_groups_and_what_is_made_of_their_sums(tmp_path) -> None:
    assert grouped(tmp_path, text=SMALL_FLOOR).robust == PLAIN_MEAN
    train = grouped(tmp_path, 'robust = { rule = "trimmed", tolerated = 1 }', SMALL_FLOOR)
    assert (train.groups, train.robust, train.cohort_min) == (4, Robust("trimmed", 1), 10)
    assert train.noise.honest_min <= train.cohort_min


def test_masks_are_for_one_group(tmp_path) -> None:
    train = grouped(tmp_path, "masked = true", without_noise(SMALL_FLOOR))
    assert train.masked is not None
    assert train.masked.contributors_max == train.group_size_max == 13


SMALL_FLOOR = VALID.replace("cohort_min = 32", "cohort_min = 10")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            'robust = { rule = "trimmed", tolerated = 2 }',
            "4 groups tolerate fewer than half of them; set tolerated = 1",
        ),
        (
            'robust = { rule = "trimmed" }',
            "robust.tolerated is 0: .* one or more; set tolerated = 1 for 4 groups",
        ),
        (
            'robust = { rule = "mean", tolerated = 1 }',
            "robust.tolerated is 1: a mean tolerates no .*; set tolerated = 0, or rule",
        ),
        ('robust = { rule = "median", tolerated = 1 }', "rule"),
        ('robust = { rule = "trimmed", tolerated = 16 }', "tolerated"),
    ],
)
def test_rules_that_cannot_be_proposed(tmp_path, more, expected) -> None:
    with pytest.raises(ConfigError, match=expected):
        grouped(tmp_path, more, SMALL_FLOOR)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (2, "set groups = 3 or more, and tolerated = 1 or more, or rule = "),
        (8, "tolerated = 1 to 3 for 8"),
    ],
)
def test_a_trimmed_mean_of_nothing_is_told_how_many_to_tolerate(tmp_path, groups, expected) -> None:
    terms = f'kind = "train"\ngroups = {groups}\nrobust = {{ rule = "trimmed" }}'
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, SMALL_FLOOR.replace('kind = "train"', terms))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SMALL_FLOOR.replace('kind = "evaluate"', 'kind = "evaluate"\ngroups = 2'), "only a phase"),
        (SMALL_FLOOR.replace('kind = "train"', 'kind = "train"\ngroups = 5', 1), "groups x cohort"),
        (SMALL_FLOOR.replace('kind = "train"', 'kind = "train"\ngroups = 33', 1), "groups"),
    ],
)
def test_groups_that_cannot_be_proposed(tmp_path, text, expected) -> None:
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, text)


# --- what to set instead --------------------------------------------------------------------------


def train_only(*keys: str, floor: int = 5, target: int = 10, drawn: int = 15, **tables) -> str:
    """A study of one phase that trains, with more keys of the phase and of other tables."""
    text = VALID[: VALID.rindex("[[phases]]")].replace("cohort_min = 32", f"cohort_min = {floor}")
    text = text.replace("target = 40\ndrawn = 50", f"target = {target}\ndrawn = {drawn}")
    for name, value in tables.items():
        table, _, key = name.partition("_")
        text = re.sub(rf"(?m)^{key} = .*\n", "", text)
        text = text.replace(f"[{table}]\n", f"[{table}]\n{key} = {value}\n")
    return text.replace('kind = "train"\n', "\n".join(('kind = "train"', *keys, "")))


def with_setting(text: str, key: str, value: object) -> StudyFile:
    """The study of a file with another setting: table.key, or phases[0].key."""
    study = parse_toml(text.encode(), StudyFile, "here", ConfigError)
    table, name = key.split(".")
    if table.startswith("phases"):
        changed = msgspec.structs.replace(study.phases[0], **{name: value})
        return msgspec.structs.replace(study, phases=(changed,))
    changed = msgspec.structs.replace(getattr(study, table), **{name: value})
    return msgspec.structs.replace(study, **{table: changed})


LARGE = {"model_hidden": [2000, 2000]}
QUIET = {"privacy_noise_multiplier": 0}
FEW = "training.fraction_bits training.clip_norm"


@pytest.mark.parametrize(
    ("text", "reason", "keys"),
    [
        (  # more groups than twenty are above what members hold, and twenty are too few to verify
            train_only("verified = true", "groups = 4", target=500, drawn=500, **QUIET, **LARGE),
            "rounding alone would add",
            "phases[0].verified",
        ),
        (
            train_only("verified = true", "groups = 4", target=450, drawn=450, **QUIET, **LARGE),
            "rounding alone would add",
            "phases[0].groups phases[0].verified",
        ),
        (
            train_only("verified = true", "groups = 20", target=500, drawn=500, **QUIET, **LARGE),
            "its norm cannot be verified with training.fraction_bits from 9 to 11",
            "",
        ),
        (
            train_only("groups = 20", target=500, drawn=500, **QUIET, **LARGE),
            "sums of 20 groups have 80400120 values, above 80000000",
            "phases[0].groups",
        ),
        (  # the clip is of no use: noise grows with it
            train_only("verified = true", **LARGE),
            "its norm cannot be verified with training.fraction_bits from 9 to 11",
            "phases[0].verified",
        ),
        (
            train_only("verified = true", training_fraction_bits=10, **LARGE),
            "A norm of",
            "phases[0].verified",
        ),
        (
            train_only("verified = true", training_fraction_bits=9, model_hidden=[256]),
            "A norm of",
            f"{FEW} privacy.noise_multiplier",
        ),
        (
            train_only(
                "masked = false", privacy_noise_multiplier=1000, floor=100, target=200, drawn=200
            ),
            "norm_max is too large to be proven",
            "privacy.noise_multiplier phases[0].masked",
        ),
        (
            train_only(
                "verified = true",
                "masked = true",
                training_fraction_bits=3,
                **QUIET,
                training_clip_norm=1.0,
                model_hidden=[1000, 1000],
            ),
            "training.fraction_bits is 3, too coarse for training.clip_norm 1 over 1010006 param",
            FEW,
        ),
        (
            train_only(training_clip_norm=0.001, training_fraction_bits=1, **QUIET),
            "training.fraction_bits is 1, too coarse for training.clip_norm 0.001 over 582 param",
            FEW,
        ),
        (
            train_only(training_clip_norm=0.001, **QUIET),
            "training.fraction_bits is 11 at most unless stated, too coarse for",
            FEW,
        ),
        (
            train_only("masked = true", "value_bits = 4", training_fraction_bits=11, **QUIET),
            "value_bits is 4, too few: training.clip_norm and training.fraction_bits allow entries",
            "phases[0].value_bits",
        ),
        (
            train_only(
                "groups = 2",
                training_fraction_bits=11,
                floor=64,
                target=450,
                drawn=490,
                **QUIET,
                **LARGE,
            ),
            "the vectors of 490 contributors and their sums take",
            f"{FEW} phases[0].groups",
        ),
        (
            train_only("masked = true", floor=100, target=200, drawn=600, **QUIET),
            "drawn is 600 and groups is 1, so a masked sum would be over 600 contributors",
            "phases[0].drawn",
        ),
        (
            train_only("verified = true", floor=16, target=80, drawn=100),
            "its norm cannot be verified",
            "privacy.noise_multiplier privacy.honest_min phases[0].groups phases[0].verified",
        ),
        (
            train_only("verified = true", training_fraction_bits=8, **LARGE),
            "training.fraction_bits is 8, too coarse for training.clip_norm 2 over 4020006 param",
            "",
        ),
    ],
)
def test_only_settings_that_help_are_advised(text, reason, keys) -> None:
    """Each by itself, with the value that is named; no other check then says the contrary."""
    study = parse_toml(text.encode(), StudyFile, "here", ConfigError)
    with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
        make_proposal(study, NETWORK, NODE, bytes(32), "here")
    said = str(caught.value)
    assert not re.search(r"\b(ask|choose|raise|lower|draw|Use)\b", said), "nothing untried"
    told, _, advice = said.removesuffix(".").partition("; set ")
    settings = dict(each.split(" = ") for each in advice.split(", or ")) if advice else {}
    assert " ".join(settings) == keys
    assert bool(settings) != told.endswith(
        "; no single key mends it: change several, or take fewer parameters"
    )
    for key, value in settings.items():
        changed = with_setting(text, key, json.loads(value))
        make_proposal(changed, NETWORK, NODE, bytes(32), "here")


def test_settings_are_advised_that_leave_earlier_phases_whole(tmp_path) -> None:
    """Units of a quarter would do for the second phase alone, and the first cannot be verified."""
    tables = {"floor": 32, "target": 40, "drawn": 50, "training_fraction_bits": 9, **QUIET}
    text = train_only("verified = true", **tables)
    masked = text[text.index("[[phases]]") :].replace(
        "verified = true", "masked = true\nvalue_bits = 6"
    )
    with pytest.raises(ConfigError, match=r"; set phases\[1\].value_bits = 12\.$"):
        read(tmp_path, f"{text}\n{masked}")
    with pytest.raises(
        ConfigError,
        match=r"; set training.fraction_bits = 3, or training.clip_norm = 0.0312, or "
        r"phases\[0\].value_bits = 12\.$",
    ):
        read(tmp_path, train_only("masked = true", "value_bits = 6", **tables))


def test_a_clip_of_half_the_root_of_the_length_leaves_nothing(tmp_path) -> None:
    """Rounding may add so much to an update of 144 values, which is clipped lower by it."""
    text = train_only(training_fraction_bits=0, training_clip_norm=6, model_hidden=[20], **QUIET)
    text = text.replace("classes = 6", "classes = 4")
    with pytest.raises(ConfigError, match=r"is 0, too coarse .* 6 over 144 parameters; set"):
        read(tmp_path, text)
    (train,) = read_manifest_body(
        read(tmp_path, text.replace("clip_norm = 6", "clip_norm = 7")).manifest
    ).phases
    assert train.clip == 7


def test_units_that_only_a_comparison_has(tmp_path) -> None:
    """Workers of a study have one rounding, whatever they do with it."""
    text = train_only(training_fraction_bits=2).replace('kind = "train"', 'kind = "evaluate"')
    with pytest.raises(ConfigError, match=r"is 2, too coarse .*; set training.fraction_bits = 3,"):
        read(tmp_path, text)


def test_counts_of_learning_that_noise_cannot_cover(tmp_path) -> None:
    text = train_only(privacy_noise_multiplier=1000, privacy_count_max=2**20)
    expected = (
        r"phases\[0\]: the noise is too wide to be drawn; set privacy.noise_multiplier = 31.2, or "
        r"privacy.count_max = 32768\.$"
    )
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, text.replace('kind = "train"', 'kind = "evaluate"'))


def test_units_are_so_coarse_that_an_aggregator_has_room_for_the_vectors(tmp_path) -> None:
    """Two slots fit where a value has a bit less, and a vector is half as long."""
    text = train_only("groups = 2", floor=64, target=450, drawn=490, **QUIET, **LARGE)
    (train,) = read_manifest_body(read(tmp_path, text).manifest).phases
    assert train.clip == 2 << 10
    (train,) = read_manifest_body(
        read(tmp_path, text.replace("drawn = 490", "drawn = 450")).manifest
    ).phases
    assert train.clip == 2 << 10


def test_noise_relies_on_half_of_each_phases_floor(tmp_path) -> None:
    """Nobody stated more than the floors."""
    text = VALID.replace('kind = "train"', 'kind = "train"\ncohort_min = 8')
    text = text.replace('kind = "evaluate"', 'kind = "evaluate"\ncohort_min = 40')
    manifest = read_manifest_body(read(tmp_path, text).manifest)
    assert [phase.noise.honest_min for phase in manifest.phases] == [4, 20]
    with pytest.raises(
        ConfigError,
        match=r"phases\[0\]: privacy.honest_min is 9, and cohort_min ensures 8 contributors",
    ):
        read(tmp_path, text.replace("[privacy]", "[privacy]\nhonest_min = 9"))
    assert read(tmp_path, text.replace("[privacy]", "[privacy]\nhonest_min = 8"))
    assert read(tmp_path, without_noise(text.replace("[privacy]", "[privacy]\nhonest_min = 9")))


# --- networks -------------------------------------------------------------------------------------

# 19,956 parameters, which eight groups share, or 32 mask.
LONG = {"model_hidden": [2217], "floor": 3, "target": 96, "drawn": 96}


def test_what_no_committee_could_carry_is_refused_to_its_proposer(tmp_path) -> None:
    expected = (
        r"phases\[0\]: 110 members release \d+ bytes each, above .* together, above 33554432; set "
        r"phases\[0\].groups = 7, or phases\[0\].masked = true\.$"
    )
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path, train_only("groups = 8", **LONG, **QUIET))
    text = train_only("groups = 8", "masked = true", **LONG, **QUIET)
    assert unfit_networks(read_manifest_body(read(tmp_path, text).manifest)) == {}


def test_networks_whose_committees_could_not_carry_a_study(tmp_path) -> None:
    """Committees of small ones pack few values; ten nodes are fewer than the round needs."""
    text = train_only("groups = 4", **{**LONG, "target": 18, "drawn": 20}, **QUIET)
    found = unfit_networks(read_manifest_body(read(tmp_path, text).manifest))
    assert list(found) == [30]
    assert found[30].startswith("phases[0]: 20 members release 638784 bytes each, above 524288")
    for fewer in ("groups = 3", "masked = true"):
        text = train_only(fewer, **{**LONG, "target": 18, "drawn": 20}, **QUIET)
        assert unfit_networks(read_manifest_body(read(tmp_path, text).manifest)) == {}
    text = train_only("groups = 4", **{**LONG, "target": 31, "drawn": 31}, **QUIET)
    assert unfit_networks(read_manifest_body(read(tmp_path, text).manifest)) == {}


def test_networks_whose_committees_could_not_agree_on_so_many(tmp_path) -> None:
    """Headers of verified contributions are long: their round would be skipped, said in time."""
    text = train_only("verified = true", "groups = 4", target=300, drawn=480, **QUIET)
    found = unfit_networks(read_manifest_body(read(tmp_path, text).manifest))
    assert set(found) == {1_000, 10_000}
    assert all("agree on" in each and each.endswith("draw fewer") for each in found.values())
