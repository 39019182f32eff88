"""Scans artefacts and measures behaviour in a sandbox."""
