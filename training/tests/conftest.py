"""For all tests."""

import os

import pytest
import torch

# What is too large for every day is left out, not skipped: a skipped test would look like one that could not run.
collect_ignore = [] if os.environ.get("DSLORA_TEST_LARGE") == "1" else ["export/test_large_graphs.py"]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Tiny models: threads that wait for each other cost more than they give, the more so on a busy machine.
    torch.set_num_threads(1)
