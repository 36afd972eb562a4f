"""`pnyx node`: create, enrol, run and stop this owner's node."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.cli.common import (
    Directory,
    Json,
    KeyFileOption,
    Keyring,
    day,
    layout_of,
    now_s,
    plain,
    print_json,
    print_table,
    say,
    unlocking,
)

if TYPE_CHECKING:
    from pnyx.node.control import NodeStatus, RingStatus

app = typer.Typer(no_args_is_help=True, help="Create, enrol, run and stop a node.")

_STOP_WAIT_S = 15.0
_POLL_S = 0.05


@app.command()
def init(
    directory: Directory,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 7400,
    advertise_host: Annotated[
        str, typer.Option(help="Address at which peers find this node, when it differs.")
    ] = "",
    advertise_port: Annotated[
        int, typer.Option(help="Port at which peers find this node, when it differs.", max=65535)
    ] = 0,
    actor: Annotated[
        bool, typer.Option(help="Serve on committees; --no-actor for a machine often off.")
    ] = True,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
) -> None:
    """Create a node: its keys, its settings, and the request for its certificate.

    Example: pnyx node init --host 0.0.0.0 --advertise-host ada.example.org
    """
    from pnyx.config import Advertise, Listen
    from pnyx.node.enrolment import REQUEST_NAME, create_node

    layout = layout_of(directory)
    create_node(
        layout,
        unlocking(key_file, keyring, new=True),
        listen=Listen(host=host, port=port),
        advertise=Advertise(host=advertise_host, port=advertise_port),
        serve_as_actor=actor,
    )
    say(f"Created {layout.root}; send {layout.root / REQUEST_NAME} to your network's authority.")


@app.command()
def install(
    network: Annotated[
        Path, typer.Argument(readable=False, help="The network file that the authority published.")
    ],
    directory: Directory,
    certificate: Annotated[
        Path | None,
        typer.Option(readable=False, help="This node's certificate; needed the first time."),
    ] = None,
    end_studies: Annotated[
        bool,
        typer.Option(
            "--end-studies", help="Accept that a network that starts anew ends known studies."
        ),
    ] = False,
) -> None:
    """Put the authority's certificate and network file in place, after checking both.

    Example: pnyx node install network.json --certificate ada.pem
    """
    from pnyx.node.enrolment import install as install_files
    from pnyx.node.runner import single_instance

    layout = layout_of(directory)
    with single_instance(layout):
        done = install_files(layout, certificate, network, now=now_s(), end_studies=end_studies)
    say(
        f"This node is {done.certificate.node_id.hex()} of {plain(done.network.name)}, which has "
        f"{len(done.network.census)} nodes; its certificate is valid until "
        f"{day(done.certificate.not_after)}."
    )
    if done.studies_ended:
        say("The studies of the earlier network were set aside; vault and ledger are unchanged.")


@app.command()
def run(directory: Directory, key_file: KeyFileOption = None, keyring: Keyring = False) -> None:
    """Run the node until Ctrl-C or `pnyx node stop`; it logs to stderr.

    Example: pnyx node run
    """
    import os

    # Before numpy loads: the training worker is forked, and a fork wants a single thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pnyx.cli.log import NoticeLog, node_logger
    from pnyx.config import read_config
    from pnyx.node.daemon import Daemon
    from pnyx.node.runner import run_node

    layout = layout_of(directory)
    log = node_logger(read_config(layout.config).node.log_level)

    def started(daemon: Daemon) -> None:
        log.info("started", node=daemon.node_id.hex()[:16], port=daemon.transport.port)

    run_node(layout, unlocking(key_file, keyring), observer=NoticeLog(log), on_started=started)
    log.info("stopped")


@app.command()
def status(directory: Directory, as_json: Json = False) -> None:
    """Show how the running node is.

    Example: pnyx node status
    """
    from pnyx.node.control import NodeStatus, Status, call

    found = call(layout_of(directory), Status(), NodeStatus)
    if as_json:
        print_json(found)
        return
    print_table(
        ("", ""),
        [
            ("node", found.node_id),
            ("network", f"{plain(found.network)}, {found.nodes_enrolled} nodes"),
            ("census", _census(found)),
            ("authority", _authority(found)),
            ("epoch", str(found.epoch) if found.beacon_known else "first beacon not yet made"),
            ("listens on port", str(found.port)),
            ("peers connected", f"{found.peers_connected} of {found.nodes_enrolled - 1}"),
            ("place in the ring", _ring(found.ring)),
            ("ring neighbours", _shortened(found.ring)),
            ("studies known", str(found.studies)),
            ("studies that ask you", str(found.studies_asking)),
            ("contributions sent", str(found.contributions_sent)),
            ("nodes proven to cheat", _listed(found.convicted, beyond_doubt=True)),
            ("nodes convicted in one study", _listed(found.convicted, beyond_doubt=False)),
            ("training sandbox", found.sandbox),
        ],
    )


def _census(found: "NodeStatus") -> str:
    """The census in force, in words."""
    until = f"number {found.census_number}, valid until {day(found.census_valid_until)}"
    if not found.census_expired:
        return until
    return f"{until}: EXPIRED, no new study opens; ask the authority to publish a new one"


def _authority(found: "NodeStatus") -> str:
    """Whether the authority contradicted itself."""
    if not found.contradicted:
        return "has not contradicted itself"
    numbers = ", ".join(map(str, found.contradicted))
    return f"SIGNED TWO CENSUSES of number {numbers}: neither is taken up, and this is proven"


def _ring(ring: "RingStatus") -> str:
    """How the node stands in the ring, in words."""
    if not ring.joined:
        return "not yet taken"
    return (
        f"taken in epoch {ring.epoch}; knows {ring.nodes_known} nodes of about "
        f"{ring.nodes_estimated}, holds {ring.items_held} items"
    )


def _shortened(ring: "RingStatus") -> str:
    """The nearest neighbours on both sides, shortened."""
    sides = (("ahead", ring.successors[:3]), ("behind", ring.predecessors[:3]))
    told = [f"{side} {' '.join(each[:12] for each in ids)}" for side, ids in sides if ids]
    return "; ".join(told) or "none"


def _listed(convicted: Mapping[str, bool], *, beyond_doubt: bool) -> str:
    """Convicted nodes of one kind, shortened."""
    return (
        ", ".join(node[:12] for node, sure in convicted.items() if sure is beyond_doubt) or "none"
    )


@app.command()
def stop(directory: Directory) -> None:
    """Stop the running node, and wait until it has.

    Example: pnyx node stop
    """
    import time

    from pnyx.errors import PnyxError
    from pnyx.node.control import Stop, Stopping, call
    from pnyx.node.runner import is_locked

    layout = layout_of(directory)
    process = call(layout, Stop(), Stopping).process_id
    limit = time.monotonic() + _STOP_WAIT_S
    while is_locked(layout):
        if time.monotonic() > limit:
            raise PnyxError(
                f"The node has not stopped within {_STOP_WAIT_S:g} s; "
                f"`kill {process}` ends it, and nothing is lost."
            )
        time.sleep(_POLL_S)
    say("Stopped.")
