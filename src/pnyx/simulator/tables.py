"""Records of an experiment as a Parquet table, with all that is needed to make it again.

Every column carries its meaning and unit, the table its experiment, its parameters and its seeds.
A table appears under its name when it is whole: it is written beside it and renamed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pnyx.simulator.experiment import meanings

_MEANING = b"meaning"
_ORIGIN = b"pnyx"


def write_table(path: Path, records: Sequence[msgspec.Struct], origin: Mapping[str, Any]) -> None:
    """Write records, all of one kind and at least one, as the table `path`.

    origin: what made them (experiment, parameters, seeds, version), kept as JSON in the table.
    Raises ValueError when the records are of several kinds or none.
    """
    kinds = {type(record) for record in records}
    if len(kinds) != 1:
        raise ValueError("a table holds records of exactly one kind")
    described = meanings(kinds.pop())
    rows = [msgspec.structs.asdict(record) for record in records]
    table = pa.Table.from_pylist(rows)
    fields = [
        table.schema.field(name).with_metadata({_MEANING: meaning.encode()})
        for name, meaning in described.items()
    ]
    schema = pa.schema(fields, metadata={_ORIGIN: json.dumps(origin, sort_keys=True).encode()})
    beside = path.with_name(path.name + ".part")
    pq.write_table(table.cast(schema), beside)
    beside.replace(path)


def read_table(path: Path) -> tuple[list[dict[str, Any]], dict[str, str], dict[str, Any]]:
    """Return the rows of a table, the meaning of each column, and what made it."""
    table = pq.read_table(path)
    described = {
        field.name: (field.metadata or {}).get(_MEANING, b"").decode() for field in table.schema
    }
    origin = json.loads((table.schema.metadata or {}).get(_ORIGIN, b"{}"))
    return table.to_pylist(), described, origin
