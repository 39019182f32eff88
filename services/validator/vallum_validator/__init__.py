"""Scans artefacts and measures behaviour in a sandbox."""

__version__ = "0.1.0"
