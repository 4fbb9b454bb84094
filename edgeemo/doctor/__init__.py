"""Whether this machine can run edgeemo: what is found out, and what mends it (`edgeemo doctor`)."""

from edgeemo.doctor.examination import examine
from edgeemo.doctor.findings import Check, Finding, Verdict

__all__ = ["Check", "Finding", "Verdict", "examine"]
