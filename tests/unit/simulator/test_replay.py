"""`python -m pnyx.simulator SEED`."""

import pytest

from pnyx.protocol.round.inputs import Inputs
from pnyx.simulator.__main__ import main


def test_prints_the_trace_of_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["7"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Scenario(seed=7")
    assert "StepReached" in printed
    assert '"trace_hash"' in printed


def test_tells_which_invariant_broke(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inputs, "_record_vote", lambda inputs, now: None)
    assert main(["7"]) == 1
    assert "BROKEN  t=300.000: the study has not ended" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["x"], ["1", "2"], ["-1"], ["--short"]])
def test_explains_its_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: python -m pnyx.simulator" in capsys.readouterr().err
