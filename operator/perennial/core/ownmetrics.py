"""How the user's program that measures metrics of their own stands, where the Job itself does not say it.

Kubernetes has no time limit for one container: `evaluation.metrics.timeout` is kept here, and the pod's own deadline, which has
it on top of our hour, only stands behind it. `perennial.core.training` asks before it reads the Job as any other.
"""

from __future__ import annotations

from datetime import datetime

from perennial.api.base import seconds
from perennial.core import jobpods
from perennial.core.jobs import Reading
from perennial.core.observed import Job, Version
from perennial_runtime.contract import Container


def overrun(version: Version, job: Job, now: datetime) -> Reading | None:
    """That the program has run longer than it may; None where it has not, or there is none."""
    own, pod = version.spec.evaluation.metrics, jobpods.newest(job)
    if own is None or pod is None or job.step != "evaluate" or job.complete or job.failed:
        return None
    program = next((one for one in pod.containers if one.name == Container.METRICS and one.state == "running"), None)
    if program is None or program.started_at is None or (now - program.started_at).total_seconds() <= seconds(own.timeout):
        return None
    words = f"the program of evaluation.metrics in pod {pod.name} ran longer than {own.timeout} and was ended"
    return Reading("refused", "MetricsTimedOut", f"{words}; raise evaluation.metrics.timeout or make it faster", stop=True)
