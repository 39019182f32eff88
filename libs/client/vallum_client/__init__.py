"""The Python client and the vallum command."""
