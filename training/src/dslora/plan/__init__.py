"""What a training would need, before anything is loaded: parameters, memory and time."""

from dslora.plan.estimate import Division, Plan, make_plan
from dslora.plan.fit import check_fits, parse_memory

__all__ = ["Division", "Plan", "check_fits", "make_plan", "parse_memory"]
