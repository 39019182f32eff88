"""Baselines, detection, alerts, correction and metrics."""
