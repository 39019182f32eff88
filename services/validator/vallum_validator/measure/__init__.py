"""Measuring in a process of its own: it holds no key, no database and no socket, and can be killed.

Two halves that speak JSON lines: `process` asks from the service, `__main__` answers in the child. Inside the child the
model runs once more apart, in the sandbox.
"""
