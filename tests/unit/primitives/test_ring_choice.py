"""Which loops serve a process: compiled where possible, numpy's where not, and never an error."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.confined import Ending, attempt, confined, needs_filter, unconfined
from tests.support.ring import MASK_PRIMES, random_blocks

from pnyx.primitives.ring import LinearHash, Ring, _choice, implementation
from pnyx.sandbox import confine, query_profile

SOURCE = Path(__file__).resolve().parents[3] / "src"
ASK = "from pnyx.primitives.ring import implementation; print(implementation())"


def ask(program: str = ASK, **environment: str) -> str:
    """What another interpreter prints, with every warning an error."""
    outcome = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


def test_the_compiled_loops_serve_where_numba_is_there() -> None:
    assert implementation() == "numba"
    assert ask() == "numba"


def test_numba_is_imported_when_it_is_needed_and_no_sooner() -> None:
    program = """
import sys
import pnyx.cli
import pnyx.primitives.ring as ring
print("numba" in sys.modules)
ring.Ring(32, 134176769).zeros(1)
print("numba" in sys.modules)
ring.implementation()
print("numba" in sys.modules)
"""
    assert ask(program).split() == ["False", "False", "True"]


def test_numpy_serves_where_numba_is_missing() -> None:
    program = f"import sys; sys.modules['numba'] = None; {ASK}"
    assert ask(program) == "numpy"


def test_numpy_serves_where_numba_is_told_not_to_compile() -> None:
    assert ask(NUMBA_DISABLE_JIT="1") == "numpy"


def test_the_choice_is_made_once(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pnyx.primitives.ring._kernels_numba", None)
    monkeypatch.delattr("pnyx.primitives.ring._kernels_numba")
    assert implementation() == "numba"
    _choice.kernels.cache_clear()
    try:
        assert implementation() == "numpy"
    finally:
        monkeypatch.undo()
        _choice.kernels.cache_clear()
    assert implementation() == "numba"


BROKEN = """
import errno, pickle
from numba.core import caching

def broken(*arguments, **options):
    raise {error}

{place} = broken
from pnyx.primitives.ring import Ring, implementation
ring = Ring(32, 134176769)
block = ring.zeros(1)
block[0, 3, 5] = 7
print(implementation(), ring.inverse(ring.forward(block))[0, 3, 5])
"""


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("caching.FunctionCache.load_overload", "pickle.UnpicklingError('a damaged file')"),
        ("caching.FunctionCache.save_overload", "OSError(errno.ENOSPC, 'a full disk')"),
        ("caching.tempfile.TemporaryFile", "OSError(errno.EROFS, 'no folder to write')"),
    ],
)
def test_the_loops_are_compiled_in_memory_where_the_cache_fails(
    place: str, error: str, tmp_path: Path
) -> None:
    """numba asks by a temporary file whether it may write to a folder."""
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}  # empty, so that something is to be saved
    assert ask(BROKEN.format(place=place, error=error), **cache) == "numba 7"
    assert not list(tmp_path.rglob("*.nbc"))


def mask_and_hash() -> list[object]:
    """Loads the loops if they are not loaded; the answer is small enough to send."""
    ring = Ring(1024, MASK_PRIMES[0])
    block = random_blocks(ring, 1)
    masks = ring.mask(block, block[0, :, 0].copy())
    digest = LinearHash(bytes(32)).digest(masks)
    return [implementation(), int(masks.sum(dtype=np.int64)), int(digest.sum(dtype=np.int64))]


def roomy(channel: int) -> None:
    confine(query_profile(channel), channel=channel, memory_bytes=256 << 20, cpu_seconds=10)


@needs_filter
@pytest.mark.parametrize("arrange", [confined, roomy], ids=["training", "query"])
def test_confined_children_use_what_was_loaded_before_and_numpy_otherwise(arrange) -> None:
    """No file can be opened there, and in one of them no memory may become executable."""
    warm = attempt(mask_and_hash, arrange)
    assert warm == Ending(result=mask_and_hash())
    loaded = sys.modules.pop("pnyx.primitives.ring._kernels_numba")
    package = sys.modules["pnyx.primitives.ring"]
    del package._kernels_numba
    _choice.kernels.cache_clear()
    try:
        cold = attempt(mask_and_hash, arrange)
    finally:
        sys.modules["pnyx.primitives.ring._kernels_numba"] = package._kernels_numba = loaded
        _choice.kernels.cache_clear()
    assert cold.result == ["numpy", *warm.result[1:]]
    assert attempt(mask_and_hash, unconfined) == warm
