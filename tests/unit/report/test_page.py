"""The page of a report: whole, alone, and with exactly the figures that it was given."""

import base64
import hashlib
import math
import re

import numpy as np
import pytest
from msgspec.structs import replace
from tests.support.report import Page, owner, phase, sample, training

from pnyx.node.control import ColumnSummary
from pnyx.protocol.selection import assess
from pnyx.report import render, words
from pnyx.report.record import (
    Corrupted,
    Cost,
    Culprit,
    Exclusion,
    Group,
    Judged,
    Models,
    Poll,
    Sent,
    Staged,
)

WIDE = tuple(f"column {number}" for number in range(4096))
REPORTS = {
    "usual": sample(),
    "nothing certified": sample(
        rounds=(), joined=0, finished=False, models=None, owners=(), statistics=(), cost=None
    ),
    "one round": sample(rounds=(training(1),)),
    "all skipped": sample(
        rounds=tuple(
            training(n, accuracy=None, contributors=0, skipped=True, attempt=2) for n in range(2, 9)
        ),
        models=None,
        owners=(),
    ),
    "2,000 rounds": sample(rounds=tuple(training(n) for n in range(1, 2001))),
    "one owner": sample(owners=(owner(1),)),
    "two owners alike": sample(owners=(owner(1), owner(1))),
    "500 owners": sample(owners=tuple(owner(n) for n in range(500))),
    "all right": sample(owners=(owner(1), owner(2)), models=Models(1.0, 1.0, 1.0, 4)),
    "all wrong": sample(
        models=Models(0.0, 0.0, 0.0, 4), rounds=(training(1, accuracy=0.0), training(2))
    ),
    "noise beyond the range": sample(
        models=Models(-0.2, 1.3, 0.5, 9),
        models_noisy=True,
        rounds=(training(1, accuracy=-0.5), training(2, accuracy=1.7)),
        epsilon_spent=3.21,
        epsilon_planned=5.0,
    ),
    "own accuracies": sample(
        whose="own",
        owners=(owner(3),),
        cost=None,
        sent=Sent(contributions=1, bytes_planned=999, aborted=1),
    ),
    "poll": sample(
        rounds=(),
        models=None,
        owners=(),
        phases=(phase("poll", 1, 0.5, "ranking"),),
        polls=(Poll(1, 30, "ranking", (("tea", 12.0), ("coffee", 3.25))),),
    ),
    "wide": sample(
        columns=WIDE, statistics=tuple(ColumnSummary(name, 1.0, 1e300, 0.0) for name in WIDE)
    ),
    "much went wrong": sample(
        exclusions=(Exclusion("ee" * 32, 3),),
        culprits=(Culprit("ee" * 32, "lied", "12" * 32, 9), Culprit("dd" * 32, "was seen", "", 5)),
        judged=Judged(False, 2, 1),
        staged=Staged(
            killed=4, refused=1, corrupted=(Corrupted("7", "ee" * 32, "liar", 3, "proven"),)
        ),
    ),
    "large network": sample(nodes=100_000, assessment=assess(100_000)),
    "no steps": sample(
        cost=Cost(bytes_sent=0, seconds=None, cpu_seconds=None, memory_mb=0.0, steps=())
    ),
    "steps without time": sample(
        cost=Cost(
            bytes_sent=1e15,
            seconds=0.0,
            cpu_seconds=0.0,
            memory_mb=1e6,
            steps=(("open", 0.0), ("a step that we do not know", 0.0)),
        )
    ),
}


@pytest.fixture(params=REPORTS.values(), ids=REPORTS)
def text(request) -> str:
    return render(request.param)


def test_page_is_well_formed(text) -> None:
    page = Page(text)
    ids = [named["id"] for _, named in page.elements if "id" in named]
    assert len(set(ids)) == len(ids)
    wanted = [named.get("aria-labelledby") for _, named in page.elements]
    wanted += [named["href"].removeprefix("#") for _, named in page.elements if "href" in named]
    assert set(filter(None, wanted)) <= set(ids)
    assert "nan" not in re.findall(r"[a-z]+", page.shown())


def test_page_needs_nothing_else(text) -> None:
    """No request can leave: no source, no link but to a place in the page, no import in styles."""
    page = Page(text)
    for tag, named in page.elements:
        assert tag not in ("script", "link", "img", "iframe", "object", "form", "base")
        assert not {"src", "style", "srcset", "action"} & set(named)
        assert not [name for name in named if name.startswith("on")]
        assert named.get("href", "#").startswith("#")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_policy_allows_the_style_sheet_alone(text) -> None:
    (policy,) = [named["content"] for _, named in Page(text).elements if "http-equiv" in named]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_figures_have_words(text) -> None:
    """Every drawing is named for those who do not see it, or says that it only decorates."""
    page = Page(text)
    assert [tag for tag, _ in page.elements].count("h1") == 1
    open_drawing = False
    for tag, named in page.elements:
        if tag == "svg" and "role" in named:
            open_drawing = True
            assert named["role"] == "img"
            assert "aria-label" in named or "aria-labelledby" in named
        elif tag == "svg" and not open_drawing:
            assert named.get("aria-hidden") == "true"
        elif tag in ("section", "p"):
            open_drawing = False
    assert all("scope" in named for tag, named in page.elements if tag == "th")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def test_figures_are_those_given() -> None:
    report = sample(
        rounds=(
            training(2),
            training(3, skipped=True, accuracy=None, contributors=0),
            training(4, attempt=2),
            training(5, kind="evaluate", contributors=33),
        )
    )
    page = Page(render(report))
    assert page.table("Certified rounds") == [
        ["2", "22", percent(0.65), "opened"],
        ["3", "0", "–", "skipped"],
        ["4", "24", percent(1 - 0.7 / 4), "opened, second attempt"],
    ]
    rows = {row[0]: row[1:] for row in page.table("Accuracy on each owner")}
    assert rows == {
        each.name: [
            percent(each.models.alone),
            percent(each.models.shared),
            percent(each.models.personalised),
            str(each.models.held_out),
        ]
        for each in report.owners
    }
    assert page.table("Published by") == [["x", "12", "3.25", "0.5"], ["y", "0", "–", "–"]]
    assert [row[-1] for row in page.table("Median seconds")] == ["0.40", "1.80"]
    for figure in (
        "88.9 %",
        "82.9 %",
        "90.3 %",
        "33 owners",
        "1,083 rows",
        "422 kB",
        "3.6 s",
        "6.6 s",
        "1.8 GB",
    ):
        assert figure in page.shown()
    for name in (report.study, report.model_hash, report.proposer, *report.commands, "abc123"):
        assert name in page.shown()
    assert "\n".join(report.commands) + "\n" in "".join(page.text), "one a line, to be copied"
    assert "14 November 2023, 22:13 UTC" in page.shown()


@pytest.mark.parametrize("count", [2, 10, 11, 500])
def test_spread_is_that_of_the_owners(count) -> None:
    found = tuple(owner(number) for number in range(count))
    shares = np.array([(o.models.alone, o.models.shared, o.models.personalised) for o in found])
    worst = np.sort(shares, axis=0)[: math.ceil(count / 10)].mean(axis=0)
    expected = zip(
        worst,
        np.median(shares, axis=0),
        shares.mean(axis=0),
        shares.min(axis=0),
        shares.max(axis=0),
        strict=True,
    )
    rows = Page(render(sample(owners=found))).table("Spread over")
    assert [row[0] for row in rows] == ["alone", "shared", "fine-tuned at home"]
    assert [row[1:] for row in rows] == [[percent(share) for share in row] for row in expected]


def test_gains_are_counted() -> None:
    models = [(0.5, 0.5, 0.6), (0.5, 0.5, 0.5), (0.5, 0.5, 0.4), (0.5, 0.4, 0.7)]
    owners = tuple(
        type(owner(1))(str(place), Models(*shares, 10)) for place, shares in enumerate(models)
    )
    said = Page(render(sample(owners=owners))).shown()
    assert "beats training alone for 2 owners, is as good for 1, and is worse for 1." in said


def test_what_went_wrong_is_told() -> None:
    said = Page(render(REPORTS["much went wrong"]))
    assert said.table("Who broke") == [
        ["ee" * 6, "lied " + "12" * 32, "9"],
        ["dd" * 6, "was seen no evidence", "5"],
    ]
    assert said.table("Excluded by") == [["ee" * 32, "3"]]
    assert said.table("Nodes that this demonstration") == [
        ["7 " + "ee" * 6, "liar", "3 ×", "proven"]
    ]
    for sentence in (
        "4 nodes were killed",
        "1 owner refused",
        "Too few nodes confirm",
        "2 contributions failed the test, and 1 could not be decided.",
        "1 node broke a rule and was proven to have. 1 node was excluded, on evidence.",
    ):
        assert sentence in said.shown()
    innocent = "No node is known to have broken a rule."
    assert innocent in Page(render(sample())).shown()
    assert innocent not in Page(render(sample(exclusions=(Exclusion("ee" * 32, 3),)))).shown()
    skipped = Page(render(REPORTS["all skipped"])).shown()
    assert "Round 2 took a second attempt" in skipped
    assert "7 rounds of 7 had to be skipped" in skipped


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "No noise was added: there is no bound"),
        ({"epsilon_spent": 3.21, "epsilon_planned": 5.0}, "epsilon 3.21 at delta 1e-06 is spent"),
        ({"rounds": ()}, "no privacy is spent; the study adds no noise, so there will be no bound"),
        ({"rounds": (), "epsilon_planned": 5.0}, "all of it will cost at most epsilon 5"),
    ],
)
def test_privacy_is_told_plainly(changes, said) -> None:
    assert said in Page(render(sample(**changes))).shown()


@pytest.mark.parametrize(
    ("masked", "verified", "said"),
    [
        (True, True, "verified the size of each before it counted. That is experimental"),
        (True, False, "nobody checked their size"),
    ],
)
def test_who_checked_masked_updates(masked, verified, said) -> None:
    training = replace(sample().phases[1], masked=masked, verified=verified)
    assert said in Page(render(sample(phases=(training,)))).shown()
    assert "travelled masked" not in Page(render(sample())).shown()


def test_what_is_not_known_is_left_out_and_said() -> None:
    page = Page(render(sample(whose="none", owners=(), cost=None, cost_note="It is not recorded.")))
    assert "Said of the owners." in page.shown()
    assert "It is not recorded." in page.shown()
    assert not [name for name in page.captions if name.startswith(("Accuracy on", "Median"))]


def test_control_characters_of_others_are_taken_out() -> None:
    text = render(sample(title="a\x1b[2Jb\u202ec\x00", purpose="one\ntwo\u2028three"))
    assert not set(text) & set("\x1b\u202e\x00\u2028")
    assert "a\ufffd[2Jb\ufffdc\ufffd" in text
    assert "one two three" in text


def test_a_model_of_numbers_is_scored_and_never_right() -> None:
    shown = Page(render(sample(scored=True, owners=(), whose="none"))).shown()
    assert "The models predict the number activity, and score from 0 to 100 %" in shown
    assert "trained alone scores 88.9 % on average, the model trained together 82.9 %" in shown
    assert "worth 1.4 points of score" in shown
    assert "score, when each owner trains alone" in shown
    assert "Above: score of the shared model" in shown
    assert "ccuracy" not in shown
    assert "right, when" not in shown
    assert "is right" not in shown


GROUPS = (Group(1, 5, False), Group(2, 6, True), Group(4, 4, False))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"groups": (Group(1, 20, False),)}, "opened"),
        ({"groups": (Group(1, 20, True),)}, "opened, but came to nothing"),
        (
            {"groups": GROUPS, "groups_drawn": 4},
            "3 of 4 groups opened, over 5, 6 and 4 owners; of group 2 nothing came",
        ),
        (
            {"groups": GROUPS[:1], "groups_drawn": 4, "attempt": 2},
            "1 of 4 groups opened, over 5 owners, second attempt",
        ),
        ({"skipped": True, "attempt": 2}, "skipped, second attempt"),
    ],
)
def test_outcome_of_a_round_names_its_groups(changes, said) -> None:
    page = Page(render(sample(rounds=(training(2), training(3, **changes)))))
    assert page.table("Certified rounds of training")[1][-1] == said


def test_groups_and_the_rule_for_their_sums_are_named() -> None:
    several = replace(sample().phases[1], groups=7, tolerated=2)
    page = Page(render(sample(phases=(sample().phases[0], several))))
    rows = page.table("Parts of the study")
    assert [row[2] for row in rows] == ["16", "16 in each of 7 groups"]
    assert "by a trimmed mean of mixed neighbours, which bears 2 poisoned groups" in page.shown()
    averaged = Page(render(sample(phases=(replace(several, tolerated=0),)))).shown()
    assert "The sums of 7 groups are averaged: one poisoned group bends the model." in averaged
    assert "groups" not in Page(render(sample())).shown()


def test_odds_are_rounded_to_what_is_likelier() -> None:
    assert [words.odds(chance) for chance in (0.01, 0.0088, 0.5, 1.0)] == [
        "1 in 100",
        "1 in 113",
        "1 in 2",
        "1 in 1",
    ]
    assert words.odds(0.0) == "1 in 1,000,000,000,000"
