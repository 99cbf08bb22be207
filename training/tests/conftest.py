"""For all tests."""

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Tiny models: threads that wait for each other cost more than they give, the more so on a busy machine.
    torch.set_num_threads(1)
