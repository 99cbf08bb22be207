"""No cell looks at other data sets than its own here: they would be scored too, where the machine has them."""

import pytest


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSLORA_DATA_DIR", raising=False)
