"""Mutations of hostile and honest files, what the real loaders would reach in them, and the law the scan must keep."""
