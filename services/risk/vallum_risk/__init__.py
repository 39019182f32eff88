"""Twelve risks with intervals, from measured evidence."""
