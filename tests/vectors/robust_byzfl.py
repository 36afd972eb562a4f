"""What byzfl makes of the vectors of `robust.json`: this writes the file again.

    python3 -m venv byzfl && byzfl/bin/pip install byzfl==0.0.11
    byzfl/bin/python tests/vectors/robust_byzfl.py

byzfl is not among pnyx's dependencies (decision record 31 says why), so no test runs this. Vectors
and tolerated numbers are taken from the file as they are: small integers that were drawn at random,
with a few rows far from the others. "mixed" is what nearest-neighbour mixing makes of the vectors,
"result" the trimmed mean of that, in float64.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from byzfl import NNM, TrMean

SOURCE = "byzfl 0.0.11 (PyPI), TrMean(f)(NNM(f)(vectors)) in float64"
FILE = Path(__file__).with_name("robust.json")


def computed(tolerated: int, vectors: list[list[int]]) -> dict[str, Any]:
    """One case of the file."""
    mixed = NNM(f=tolerated)(np.array(vectors, dtype=np.float64))
    result = TrMean(f=tolerated)(mixed)
    return {
        "tolerated": tolerated,
        "vectors": vectors,
        "mixed": mixed.tolist(),
        "result": result.tolist(),
    }


if __name__ == "__main__":
    given = json.loads(FILE.read_text())["cases"]
    cases = [computed(case["tolerated"], case["vectors"]) for case in given]
    content = {"source": SOURCE, "cases": cases}
    FILE.write_text(json.dumps(content, separators=(",", ":")))
