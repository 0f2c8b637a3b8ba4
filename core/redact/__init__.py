"""Redaction: what any engine logs or shows passes here. docs/redaction.md says what is found and what is not."""

from core.redact.events import ProgrammingError, redact_event, redact_events
from core.redact.redactor import FAILED, Redactor
from core.redact.stream import Stream

__all__ = ["FAILED", "ProgrammingError", "Redactor", "Stream", "redact_event", "redact_events"]
