"""A node that stops while its owner waits for it, or because its disk is full."""

import os
import socket
import threading
from pathlib import Path

from tests.support.commands import RunningNode, done, one_sentence, refused_here, write_study
from tests.support.place import Place

from pnyx.errors import PnyxError
from pnyx.node.control import NodeStatus, Propose, Status, Studies, StudySummary, call
from pnyx.node.keystore import NodeLayout
from pnyx.node.proposal import read_proposal

FULL_BYTES = 33 * 1024 + 512  # of one file: the vault can be opened, and little be written


def test_node_that_stops_before_it_answers(tmp_path: Path) -> None:
    """Its socket is left behind, or it goes away at the question, or in the midst of an answer."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)  # longer than a socket's name may be
    deep.mkdir(parents=True)
    listing = ("study", "list", "--dir", deep)
    assert "not running" in refused_here(*listing)
    with socket.socket(socket.AF_UNIX) as listening:
        descriptor = os.open(deep, os.O_PATH | os.O_DIRECTORY)
        listening.bind(f"/proc/self/fd/{descriptor}/control.sock")
        os.close(descriptor)
        assert "not running" in refused_here(*listing)  # nobody listens: a killed node's
        listening.listen()
        for answer in (b"", b'{"ok": true, "resu', b"\xff\n", b'{"ok": true, "result": 3}\n'):
            answering = threading.Thread(target=answer_once, args=(listening, answer))
            answering.start()
            assert "try again" in refused_here(*listing)
            answering.join()


def answer_once(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        if answer:
            connection.recv(1000)
        connection.sendall(answer)


def test_node_whose_disk_is_full_promises_nothing(tmp_path: Path) -> None:
    """It ends with one sentence; what it said it had proposed is there when it starts again."""
    other = Place(tmp_path)
    done("data", "list", *other.key)
    file = tmp_path / "study.toml"
    write_study(file, 1, 5)
    wordy = f'purpose = "{"Recognise activities. " * 20}"'  # full before the proposer's share is
    file.write_text(file.read_text().replace('purpose = "Recognise activities."', wordy))
    node = RunningNode(other.layout.root, *other.key[2:], file_bytes_max=FULL_BYTES)
    try:
        node.await_started()
        proposed, said = propose_until_refused(other.layout, file)
        assert any(hint in said for hint in ("start it again", "try again")), said
        assert node.process.wait(timeout=20) == 1
        assert "free some space" in one_sentence(node.log.read_text().splitlines()[-1])
    finally:
        node.process.kill()
    node = RunningNode(other.layout.root, *other.key[2:])
    node.await_started()
    try:
        kept = call(other.layout, Studies(), list[StudySummary])
    finally:
        assert node.interrupt() == 0
    assert len(proposed) > 1
    assert set(proposed) <= {study.study for study in kept}


def propose_until_refused(layout: NodeLayout, file: Path) -> tuple[list[str], str]:
    """Ids of the studies that the node said it proposed, and why it took no more."""
    status = call(layout, Status(), NodeStatus)
    proposed: list[str] = []
    try:
        while True:
            proposal = read_proposal(file, status.network_id, bytes.fromhex(status.node_id))
            request = Propose(proposal.manifest, proposal.model)
            proposed.append(call(layout, request, StudySummary).study)
    except PnyxError as error:
        return proposed, str(error)
