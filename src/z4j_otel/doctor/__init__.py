"""The doctor: checks of an installation, for the command line and for frameworks.

``examine`` looks at settings, files, network, brain and engines as the agent would, starts
no agent, and leaves nothing behind. Every check is bounded in time.
"""

from __future__ import annotations

from z4j_otel.doctor.examination import Examination, Request, examine
from z4j_otel.doctor.report import Report

__all__ = ["Examination", "Report", "Request", "examine"]
