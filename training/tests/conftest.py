"""For all tests."""

import os
from collections.abc import Iterator

import pytest
import torch

# What is too large for every day is left out, not skipped: a skipped test would look like one that could not run.
collect_ignore = [] if os.environ.get("DSLORA_TEST_LARGE") == "1" else ["export/test_large_graphs.py"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Tiny models: threads that wait for each other cost more than they give, the more so on a busy machine.
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _short_turns() -> Iterator[None]:
    """One run a turn where graphs are timed: no test asks which of them is the fastest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dslora.export.layouts._TURN_SECONDS", 1e-9)
        yield
