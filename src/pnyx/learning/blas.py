"""numpy's linear algebra in one thread, also after a fork.

numpy carries an OpenBLAS with a pool of threads. A fork leaves the pool behind, and the child
starts a new one at its first large product: a confined child may not. Setting
OPENBLAS_NUM_THREADS=1 before numpy loads avoids the pool; this is for processes where nobody did.
"""

import ctypes
import sys
from pathlib import Path

_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads")


def keep_to_one_thread() -> None:
    """Let OpenBLAS compute in the calling thread from now on; call it before a fork.

    Not after it: the call would start the pool anew. Does nothing where numpy uses another library.
    What the environment says does not count: it may say so only since numpy was loaded.
    """
    if sys.platform != "linux":
        return
    loaded = Path("/proc/self/maps").read_text(errors="replace").split()
    for path in {word for word in loaded if "openblas" in word}:
        library = ctypes.CDLL(path)
        for name in _SETTERS:
            if hasattr(library, name):
                getattr(library, name)(ctypes.c_int(1))
