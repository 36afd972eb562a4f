"""Deep networks trained under masks by real processes; see `benchmarks.deep_learning`.

Importing it first keeps numeric libraries, which are loaded later, to one thread: many processes
share few cores.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
