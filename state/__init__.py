"""Bytes that survive: logs, recovery, verification, the file-system seam."""
