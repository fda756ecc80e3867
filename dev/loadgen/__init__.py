"""An open-loop load generator for the embedded cluster: `run(plan)` here, `python -m loadgen` on the command line.

Each request has its own time in a fixed schedule and is sent then, whatever happened to the others: a server that stalls meets
the requests that real clients would have sent meanwhile, and latency counts from the scheduled time (no coordinated omission).
It is bounded in rate, time and requests under way, stops by itself, and talks to this machine and the embedded cluster only.
"""

from loadgen.generator import run
from loadgen.plan import Plan, PlanError
from loadgen.results import Record, Results, Summary

__all__ = ["Plan", "PlanError", "Record", "Results", "Summary", "run"]
