"""In which order tests run, on how many workers, and which of them coverage follows.

`--dist worksteal` gives each worker a part of the list, from its beginning on. Whoever has done its
part takes half of what another has left, from the end. So long tests come first: none of them is
begun last, when a core would wait for it. And tests of real processes stay with one worker, which
often waits for them; there is one worker more than cores.
"""

from pathlib import Path

import psutil
import pytest

TESTS = Path(__file__).parent
LONGEST_FIRST = ("integration", "simulation")
TRACED = ("contract", "property", "unit", "vectors")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tracing doubles the time of Python: only tests of single parts are followed."""
    items.sort(key=lambda item: _place(_folder(item)))
    if config.pluginmanager.hasplugin("_cov"):
        for item in items:
            if _folder(item) not in TRACED:
                item.add_marker("no_cover")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`."""
    return (psutil.cpu_count(logical=False) or psutil.cpu_count() or 1) + 1


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _place(folder: str) -> int:
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
