"""`python -m pnyx.cli` is `pnyx`."""

import sys

from pnyx.cli import main

if __name__ == "__main__":
    sys.exit(main())
