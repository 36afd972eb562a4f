"""`pnyx authority`: enrol persons, and publish who takes part. Used offline, now and then."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pnyx.cli.common import (
    AuthorityDirectory,
    Json,
    KeyFileOption,
    Keyring,
    day,
    now_s,
    print_json,
    print_table,
    say,
    unlocking,
)

if TYPE_CHECKING:
    from pnyx.node.authority import AuthorityFiles

app = typer.Typer(no_args_is_help=True, help="Enrol persons' nodes, and publish who takes part.")

NodeArgument = Annotated[
    str, typer.Argument(help="First digits of the node's id, as `pnyx authority list` shows it.")
]


def _files(directory: Path) -> "AuthorityFiles":
    from pnyx.node.authority import AuthorityFiles

    return AuthorityFiles(directory.expanduser().absolute())


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="Name of the network, at most 64 characters.")],
    directory: AuthorityDirectory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
) -> None:
    """Create the authority of a new network.

    Example: pnyx authority init "Energy cooperative"
    """
    from pnyx.node.authority import create_authority

    files = _files(directory)
    create_authority(files, unlocking(key_file, keyring, new=True), name, now=int(now_s()))
    say(f"Created the authority of {name} in {files.root}; keep a copy of it offline.")


@app.command()
def issue(
    request: Annotated[Path, typer.Argument(readable=False, help="The request.json of the node.")],
    person: Annotated[
        str, typer.Option(help="For whom: one person has one certificate. Stays with you.")
    ],
    out: Annotated[Path, typer.Option(readable=False, help="Where to write the certificate.")],
    directory: AuthorityDirectory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
) -> None:
    """Enrol a person's node and issue its certificate.

    Check who the person is before. Example: pnyx authority issue request.json --person "Ada
    Lovelace" --out ada.pem
    """
    from pnyx.node.authority import open_authority
    from pnyx.node.enrolment import check_writable, read_request, replace_file

    check_writable(out)
    asked = read_request(request)
    with open_authority(_files(directory), unlocking(key_file, keyring)) as desk:
        certificate = desk.issue(asked, person, now=int(now_s()))
    replace_file(out, certificate)
    say(f"Wrote {out}; send it to {person}. The next `pnyx authority publish` lists the node.")


@app.command()
def renew(
    node: NodeArgument,
    out: Annotated[Path, typer.Option(readable=False, help="Where to write the certificate.")],
    directory: AuthorityDirectory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
) -> None:
    """Issue a new certificate for an enrolled node, which keeps its id.

    A node whose address changed sends a new request instead: `pnyx authority issue`.
    Example: pnyx authority renew 4f19c2 --out ada.pem
    """
    from pnyx.node.authority import open_authority
    from pnyx.node.enrolment import check_writable, replace_file

    check_writable(out)
    with open_authority(_files(directory), unlocking(key_file, keyring)) as desk:
        certificate = desk.renew(node, now=int(now_s()))
    replace_file(out, certificate)
    say(f"Wrote {out}; its owner puts it in place with `pnyx node install`.")


@app.command()
def revoke(
    node: NodeArgument,
    directory: AuthorityDirectory,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
) -> None:
    """Leave a node out of the network from the next census on.

    Example: pnyx authority revoke 4f19c2
    """
    from pnyx.node.authority import open_authority

    with open_authority(_files(directory), unlocking(key_file, keyring)) as desk:
        revoked = desk.revoke(node, now=int(now_s()))
    say(f"Revoked {revoked.hex()}; run `pnyx authority publish` to make it known.")


@app.command()
def publish(
    out: Annotated[Path, typer.Argument(readable=False, help="Where to write the network file.")],
    directory: AuthorityDirectory,
    corrupted: Annotated[float, typer.Option(help="Share of corrupted nodes to plan for.")] = 0.05,
    absent: Annotated[float, typer.Option(help="Share of nodes away at any one time.")] = 0.10,
    rounds: Annotated[int, typer.Option(help="Rounds of a study to plan for.")] = 40,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start the network anew; all studies end.")
    ] = False,
    key_file: KeyFileOption = None,
    keyring: Keyring = False,
    as_json: Json = False,
) -> None:
    """Sign the next census and write the network file that carries it.

    New nodes install it. Of the others one is enough: nodes pass the census on, and the next epoch
    begins with it, while studies go on. It is valid for 30 days.

    Example: pnyx authority publish network.json
    """
    from msgspec import structs

    from pnyx.node.authority import open_authority
    from pnyx.protocol.selection.assessment import assess, explain_exposure

    with open_authority(_files(directory), unlocking(key_file, keyring)) as desk:
        census = desk.publish(
            out,
            now=int(now_s()),
            corrupted_share=corrupted,
            absent_share=absent,
            rounds=rounds,
            restart=restart,
        )
    found = assess(len(census), corrupted, absent, rounds, committee=census.committee)
    if as_json:
        print_json(
            {
                "number": census.body.number,
                "nodes": len(census),
                "committee": structs.asdict(census.committee),
                "valid_until": census.body.valid_until,
                "alpha_met": found.alpha_met,
                "exposure_probability": found.exposure_probability,
            }
        )
    say(
        f"Wrote {out}: census {census.body.number} with {len(census)} nodes and committees of "
        f"{census.committee.size}, valid until {day(census.body.valid_until)}."
    )
    if not found.alpha_met:
        say(f"Beware: {' '.join(explain_exposure(found))}")


@app.command("list")
def list_nodes(directory: AuthorityDirectory, as_json: Json = False) -> None:
    """List every node ever enrolled.

    Example: pnyx authority list
    """
    from pnyx.errors import ConfigError
    from pnyx.node.authority import enrolments, state_of

    files = _files(directory)
    if not files.certificate.exists():
        raise ConfigError(
            f"There is no authority in {files.root}; create it with `pnyx authority init`."
        )
    now = now_s()
    rows = [
        {
            "node_id": enrolment.node_id.hex(),
            "person": enrolment.issued.person,
            "state": state_of(enrolment, now),
            "valid_until": day(enrolment.issued.not_after),
            "address": f"{enrolment.issued.host}:{enrolment.issued.port}",
        }
        for enrolment in enrolments(files)
    ]
    if as_json:
        print_json(rows)
        return
    headings = ("NODE", "PERSON", "STATE", "VALID UNTIL", "ADDRESS")
    print_table(headings, [(row["node_id"][:16], *list(row.values())[1:]) for row in rows])
