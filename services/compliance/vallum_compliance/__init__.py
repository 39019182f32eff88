"""Policy, signed verdicts and the audit log."""
