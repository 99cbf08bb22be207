"""Search for settings on the development split, with Optuna: resumable, shared by workers, pruned by epoch.

A sweep's folder holds ``study.db`` (SQLite, all trials), ``trials/N`` (a run each) and ``sweep.json``. Workers, here or
in other terminals, share the file. A trial that is broken off (interrupted, a full disk) puts its settings back; one
whose worker was killed is missed by its heartbeat, and the next worker puts them back. They are started again in the
same folder, where the run goes on from its checkpoint. The test split is taken out of the data before anything else
happens.
"""

from dslora.sweep.result import RESULT, table, write_result
from dslora.sweep.space import Choices, Range, Space, default_space, largest, parse_space
from dslora.sweep.study import Sweep, open_study, without_test
from dslora.sweep.worker import Train, work

__all__ = [
    "RESULT",
    "Choices",
    "Range",
    "Space",
    "Sweep",
    "Train",
    "default_space",
    "largest",
    "open_study",
    "parse_space",
    "table",
    "without_test",
    "work",
    "write_result",
]
