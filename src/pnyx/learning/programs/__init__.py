"""Models as data: a program is audited by every node, and interpreted, never executed.

    format          what a program is, and its canonical bytes
    sizes           shapes that hold for every size of a batch
    operations      the table of what a program may use; rules in pointwise, shaping, neural
    audit           every check, and what a program costs, before anything is allocated
    models          its parameters: drawn, read, cut
    builtin         perceptrons, for study files
    kernels         what computes, by torch
    interpreter     runs a program under autograd
    lowering        from torch's operations to ours; on the author's side only
    export          from a `torch.nn.Module` to a program; on the author's side only

What is listed here is free of torch.
"""

from pnyx.learning.programs.audit import Cost, audit
from pnyx.learning.programs.builtin import mlp
from pnyx.learning.programs.format import (
    Operation,
    Parameter,
    Program,
    encode_program,
    read_program,
)
from pnyx.learning.programs.models import initial_local, initial_model, read_local, read_model

__all__ = [
    "Cost",
    "Operation",
    "Parameter",
    "Program",
    "audit",
    "encode_program",
    "initial_local",
    "initial_model",
    "mlp",
    "read_local",
    "read_model",
    "read_program",
]
