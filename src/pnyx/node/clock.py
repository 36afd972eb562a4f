"""The time of the calendar."""

import time


def wall_clock() -> float:
    """Calendar time, for certificates, consents and the ledger; never for the protocol."""
    return time.time_ns() / 1e9
