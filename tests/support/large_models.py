"""Studies with a model of several chunks, which nobody moves: rounds that evaluate it."""

from msgspec.structs import replace
from tests.support.parcels import content
from tests.support.town import Town, manifest, phase

from pnyx.primitives import codec
from pnyx.protocol.events import StudyProposed
from pnyx.protocol.manifest import study_id
from pnyx.protocol.models import model_name
from pnyx.protocol.params import ProtocolParams

MODEL = content(5)
NAME = model_name(MODEL)
OTHER = content(5, seed=1)
QUICK = ProtocolParams(parcel_request_timeout_s=0.5)
NODES = 9


def propose(town: Town, model: bytes = MODEL, proposer: int = 0, nonce: bytes = bytes(32)) -> bytes:
    """Have a study of one evaluation proposed; returns its id."""
    asked = manifest(
        NODES,
        [phase(NODES, kind="evaluate", metrics_length=NODES, deadline_s=30.0)],
        proposer=town.census.node_ids[proposer],
        initial_model=model_name(model),
        model_bytes=len(model),
        nonce=nonce,
    )
    body = codec.encode(asked)
    study = study_id(body)
    town.lengths[study] = NODES
    town.push(proposer, StudyProposed(body, model), after=0.5)
    return study


def holders(town: Town, study: bytes) -> set[int]:
    """Living nodes that hold the study's model."""
    return {
        index
        for index, machine in enumerate(town.machines)
        if town.alive[index] and study in machine.studies and machine.studies[study].holds_model
    }


def with_(params: ProtocolParams = QUICK, **changes: object) -> ProtocolParams:
    """Parameters with other values."""
    return replace(params, **changes)
