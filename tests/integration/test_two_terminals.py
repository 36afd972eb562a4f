"""The whole path by commands alone: from an authority to a verified result."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.commands import (
    COLUMNS,
    LABEL_COLUMN,
    PURPOSE,
    RunningNode,
    done,
    done_json,
    free_port,
    pnyx,
    refused,
    write_activity,
    write_answer,
    write_poll,
    write_study,
)

from pnyx.node.control import Studies, StudySummary, call
from pnyx.node.keystore import NodeLayout

NODES = 7
ROUNDS = 2
NAMES = [f'"{name}"' for name in COLUMNS]
QUERY = f"""
WITH present AS (
    SELECT {", ".join(NAMES)}, {LABEL_COLUMN} AS class FROM data WHERE {LABEL_COLUMN} >= 0
)
SELECT abs({NAMES[0]}) AS {NAMES[0]}, {", ".join(NAMES[1:])}, class FROM present
"""
OWNERS = 5  # node 6 declines by policy, node 7 withdraws
ACCEPTS = f"""
[[consent.rules]]
action = "accept"
purposes = ["{PURPOSE}"]
categories = ["activity.windows", "poll.meeting"]
"""


def enrol(tmp_path: Path) -> list[Path]:
    """An authority, and seven nodes with certificates; those that contribute have data."""
    authority = tmp_path / "authority"
    done("authority", "init", "testers", "--dir", authority)
    nodes = [tmp_path / f"node-{number}" for number in range(1, NODES + 1)]
    with ThreadPoolExecutor(2) as terminals:
        list(terminals.map(create, nodes, range(1, NODES + 1)))
    for number, node in enumerate(nodes, 1):
        person = ("--person", f"Person {number}", "--out", node / "issued.pem")
        done("authority", "issue", node / "request.json", *person, "--dir", authority)
    network = tmp_path / "network.json"
    done("authority", "publish", network, "--dir", authority)
    with ThreadPoolExecutor(2) as terminals:
        list(terminals.map(lambda node: install(node, network), nodes))
    return nodes


def create(node: Path, number: int) -> None:
    """What an owner does first; the first one uses a passphrase."""
    key = () if number == 1 else ("--key-file", node / "unlock.key")
    done("node", "init", "--dir", node, "--port", free_port(), *key)
    if number <= OWNERS:
        table, mapping = write_activity(node, number)
        done("data", "import", table, "--mapping", mapping, "--dir", node, *key)
        answer, mapping = write_answer(node, 0 if number < 4 else 2)
        done("data", "import", answer, "--mapping", mapping, "--dir", node, *key)


def install(node: Path, network: Path) -> None:
    done("node", "install", network, "--certificate", node / "issued.pem", "--dir", node)


def set_policies(nodes: list[Path]) -> None:
    """Node 1 is asked; node 6 declines; the others accept."""
    for number, node in enumerate(nodes, 1):
        config = node / "pnyx.toml"
        text = config.read_text()
        if number == 6:
            text = text.replace('default = "ask"', 'default = "decline"')
        elif number > 1:
            text += ACCEPTS
        config.write_text(text)


def await_study(node: Path, study: str, state: str, timeout_s: float = 180) -> dict:
    """Ask over the node's socket until it is so, which starts no processes; then by a command."""
    limit = time.monotonic() + timeout_s
    while True:
        known = call(NodeLayout(node), Studies(), list[StudySummary])
        if any(each.study == study and (state == "known" or each.finished) for each in known):
            break
        assert time.monotonic() < limit, (known, (node / "log").read_text()[-2000:])
        time.sleep(0.2)
    (found,) = [
        each for each in done_json("study", "list", "--dir", node) if each["study"] == study
    ]
    assert state == "known" or found["finished"]
    return found


def test_study_from_authority_to_verified_result(tmp_path: Path) -> None:
    nodes = enrol(tmp_path)
    set_policies(nodes)
    running = [RunningNode(nodes[0])]
    running += [RunningNode(node, "--key-file", node / "unlock.key") for node in nodes[1:]]
    try:
        for node in running:
            node.await_started()
        file = tmp_path / "study.toml"
        write_study(file, ROUNDS, OWNERS, query=QUERY, label="class")
        study = done_json("study", "propose", file, "--dir", nodes[0])["study"]
        await_study(nodes[6], study, "known")
        check_preview(nodes[0], study)
        done("consent", "accept", study[:8], "--yes", "--dir", nodes[0])
        # No policy takes a seat without data; an owner may, and may leave again.
        assert done_json("consent", "list", "--dir", nodes[6])[0]["decision"] == "asks"
        done("consent", "accept", study[:8], "--yes", "--dir", nodes[6])
        done("consent", "withdraw", study[:8], "--dir", nodes[6])
        for node in (nodes[0], nodes[5]):
            summary = await_study(node, study, "finished")
            assert summary["rounds_certified"] == ROUNDS + 1
        check_decisions(nodes, study)
        check_result(tmp_path, nodes, study)
        check_use(tmp_path, nodes, study)
        check_other_kinds(tmp_path, nodes)
    finally:
        statuses = [node.interrupt() for node in running]
    assert statuses == [0] * NODES
    check_stopped(nodes, study)


def check_preview(node: Path, study: str) -> None:
    """The owner sees what the query gives before deciding; the node had decided nothing."""
    found = done_json("consent", "preview", study[:8], "--dir", node)
    assert found["columns"] == [*COLUMNS, "class"]
    assert found["rows"] > len(found["first"]) == 10
    assert all(row[0] >= 0 for row in found["first"])
    assert done_json("consent", "list", "--dir", node)[0]["decision"] == "asks"


def check_decisions(nodes: list[Path], study: str) -> None:
    decisions = [done_json("consent", "list", "--dir", nodes[number]) for number in (0, 1, 5, 6)]
    found = [(d[0]["decision"], d[0]["decided_by"]) for d in decisions]
    assert found == [
        ("accepted", "owner"),
        ("accepted", "policy"),
        ("declined", "policy"),
        ("withdrawn", "owner"),
    ]
    assert "not known" in refused("consent", "decline", "0" * 64, "--dir", nodes[0])
    status = done_json("node", "status", "--dir", nodes[0])
    assert status["beacon_known"]
    assert status["sandbox"].startswith(("full", "reduced: "))
    assert status["confinement"]["limits"] or "memory" in status["sandbox"]
    assert status["contributions_sent"] == ROUNDS + 1


def check_result(tmp_path: Path, nodes: list[Path], study: str) -> None:
    bundle, model = tmp_path / "study.bundle", tmp_path / "model.f32"
    found = done_json(
        *("study", "result", study[:8], "--dir", nodes[5], "--bundle", bundle, "--model", model)
    )
    assert [r["contributors"] for r in found["rounds"]] == [OWNERS] * (ROUNDS + 1)
    network = tmp_path / "network.json"
    proof = done_json("study", "verify", bundle, "--network", network)
    assert proof["finished"]
    assert proof["study"] == study
    assert proof["model_hash"] == found["model_hash"]
    check_report(tmp_path, nodes, study)
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    bundle.write_bytes(content)
    assert "proves nothing" in refused("study", "verify", bundle, "--network", network)


def check_use(tmp_path: Path, nodes: list[Path], study: str) -> None:
    """An owner applies the model to rows that it has, labelled or not."""
    out = tmp_path / "predictions.csv"
    tuned = done_json("use", study[:8], "--dir", nodes[0], "--out", out)
    rows = len(tuned["classes"])
    assert len(out.read_text().splitlines()) == rows + 1
    assert tuned["fine_tuned"]
    assert tuned["right"] > 0.5 * rows
    shared = done_json("use", study[:8], "--dir", nodes[0], "--shared")
    assert not shared["fine_tuned"]
    assert "exists already" in refused("use", study[:8], "--dir", nodes[0], "--out", out)
    assert "import some" in refused("use", study[:8], "--dir", nodes[5])


def check_other_kinds(tmp_path: Path, nodes: list[Path]) -> None:
    """Polls without and with noise, and a study standardised by its own statistics round."""
    files = [tmp_path / name for name in ("exact.toml", "noisy.toml", "standardised.toml")]
    write_poll(files[0], OWNERS, 0)
    write_poll(files[1], OWNERS, 5.0)
    write_study(files[2], 1, OWNERS, standardise=True)
    studies = [done_json("study", "propose", f, "--dir", nodes[0])["study"] for f in files]
    for study in studies:
        done("consent", "accept", study[:8], "--yes", "--dir", nodes[0])
    for study in studies:
        await_study(nodes[0], study, "finished")
    exact, noisy, standardised = (
        done_json("study", "result", study[:8], "--dir", nodes[5]) for study in studies
    )
    assert exact["rounds"][0]["metrics"] == [3, 0, 2]
    (published,) = noisy["rounds"]
    sums = [count / published["scale"] for count in published["metrics"]]
    assert sums != [3, 0, 2]
    assert all(abs(a - b) < 60 for a, b in zip(sums, [3, 0, 2], strict=True))
    assert noisy["summary"]["epsilon"] < 10 < 1e6 < (exact["summary"]["epsilon"] or 1e9)
    assert len(standardised["statistics"]) == len(COLUMNS)
    assert [r["kind"] for r in standardised["rounds"]] == ["statistics", "train", "evaluate"]
    assert not any(r["skipped"] for r in standardised["rounds"])


def check_report(tmp_path: Path, nodes: list[Path], study: str) -> None:
    """An owner's report has the own accuracies; one from the bundle alone has none."""
    page, bundle, network = (tmp_path / name for name in ("r.html", "study.bundle", "network.json"))
    found = done_json("study", "report", study[:8], "--dir", nodes[0], "--out", page)
    assert (found["whose"], found["sent"]["contributions"]) == ("own", ROUNDS + 1)
    (own,) = found["owners"]
    assert f"{100 * own['models']['personalised']:.1f} %" in page.read_text()
    proven = done_json("study", "report", "--bundle", bundle, "--network", network, "--out", page)
    assert (proven["whose"], proven["owners"], proven["sent"]) == ("none", [], None)
    assert proven["models"] == found["models"]
    said = refused("study", "report", study, "--bundle", bundle, "--out", page)
    assert "both --bundle and --network" in said


def check_stopped(nodes: list[Path], study: str) -> None:
    """After Ctrl-C nothing is left but what is kept; the vault opens again."""
    for node in nodes:
        assert not (node / "control.sock").exists()
    assert "not running" in refused("node", "status", "--dir", nodes[0])
    lines = done_json("data", "ledger", "--dir", nodes[0])
    assert {line["state"] for line in lines} == {"counted"}, lines
    assert sum(line["study"] == study for line in lines) == ROUNDS + 1
    key = ("--key-file", nodes[6] / "unlock.key")
    assert done_json("data", "ledger", "--dir", nodes[6], *key) == []
    assert pnyx("consent", "withdraw", study[:8], "--dir", nodes[0]).returncode == 0
