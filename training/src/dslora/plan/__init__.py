"""What a training would need, before anything is loaded: parameters, memory and time."""

from dslora.plan.estimate import Plan, make_plan
from dslora.plan.fit import check_fits, parse_memory

__all__ = ["Plan", "check_fits", "make_plan", "parse_memory"]
