"""A proposer puts markup, scripts and control characters into a study whose report others read."""

from functools import lru_cache

import pytest
from tests.support.report import Page
from tests.support.town import Town, manifest, phase, real

from pnyx.node.bundle import make_bundle, read_bundle
from pnyx.node.network import Network
from pnyx.report import from_bundle, render
from pnyx.report.record import Made

LENGTH = 9
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "</title></style></bdi><iframe src=javascript:alert(1)>",
    "' onload='alert(1)",
    "<!-- ",
    "&lt;script&gt;",
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "<base href=//evil.example><link rel=stylesheet href=//evil.example>",
)


@lru_cache
def hostile_page(text: str) -> str:
    """The report of a study that nine nodes certified, every text of which is this one."""
    town = Town(make=real)
    asked = manifest(
        LENGTH,
        [phase(LENGTH, rounds=1)],
        title=text,
        purpose=text * 20,
        purpose_term=text,
        category=text,
        columns=(text, text + "2"),
        label=text,
    )
    study = town.propose(plan=asked)
    assert town.run(town.finished(study))
    machine = town.machines[0]
    bundle = read_bundle(make_bundle(machine.studies[study], machine.epoch_record, b""))
    network = Network(text, machine.census.network, b"", machine.census, ())
    return render(from_bundle(bundle, network, town.cryptos[0], Made("0", "", 0.0)))


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_the_proposer_stay_texts(text) -> None:
    page = Page(hostile_page(text))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "base", "link", "object", "embed", "form"}
    for _, named in page.elements:
        assert not [name for name in named if name.startswith("on") or name in ("src", "style")]
        assert named.get("href", "#").startswith("#")
    assert text in page.shown(), "it is shown as it was written"
    assert "".join(page.text).count(text) >= 26


def test_controls_and_turned_around_text_are_taken_out() -> None:
    page = hostile_page("a\u202eb\x00c\x1b[31m\u2066\ufeffd")
    assert not set(page) & set("\u202e\x00\x1b\u2066\ufeff")


def test_the_template_escapes_and_not_only_the_source() -> None:
    """Without autoescaping the very same page would hold the script."""
    text = HOSTILE[0]
    assert text not in hostile_page(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hostile_page(text)
