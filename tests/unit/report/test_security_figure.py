"""The figure of `pnyx security --plot`: drawn from the assessment; nothing but marks and text."""

import re
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from pnyx.cli import app
from pnyx.protocol.selection import assess
from pnyx.report.security_figure import security_figure

SVG = "{http://www.w3.org/2000/svg}"


def drawn(**terms):
    return ET.fromstring(security_figure(assess(**terms)))


@pytest.mark.parametrize("nodes", [8, 36, 10_000])
def test_it_is_a_figure_of_known_marks(nodes):
    tags = {each.tag.removeprefix(SVG) for each in drawn(nodes=nodes).iter()}
    assert tags == {"svg", "rect", "text", "path", "circle"}


def test_it_says_what_was_chosen():
    said = " ".join(each.text for each in drawn(nodes=36).iter(f"{SVG}text"))
    assert "committee of 24, 4 tolerated" in said
    assert "in force: 4, in regions of 36.0 nodes" in said


def test_more_corrupted_nodes_are_drawn_higher():
    planned = [
        float(drawn(nodes=10_000, corrupted_share=share).find(f"{SVG}circle").get("cy"))
        for share in (0.02, 0.05)
    ]
    exposed = [assess(10_000, share).exposure_probability for share in (0.02, 0.05)]
    assert (planned[0] > planned[1]) == (exposed[0] < exposed[1])


def test_everything_is_within_the_picture():
    for path in drawn(nodes=1_000, corrupted_share=0.2).iter(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"[\d.]+", path.get("d"))]
        assert all(0 <= x <= 760 for x in numbers[::2])
        assert all(0 <= y <= 330 for y in numbers[1::2])


def test_the_command_writes_it(tmp_path):
    file = tmp_path / "risk.svg"
    found = CliRunner().invoke(app, ["security", "--nodes", "100", "--plot", str(file)])
    assert found.exit_code == 0
    assert ET.fromstring(file.read_text()).tag == f"{SVG}svg"


def test_another_kind_of_file_is_refused(tmp_path):
    file = tmp_path / "risk.png"
    found = CliRunner().invoke(app, ["security", "--plot", str(file)])
    assert found.exit_code != 0
    assert not file.exists()
