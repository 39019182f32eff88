"""Release policy: a versioned file of CEL rules, and what it says of an input."""

from vallum_compliance.policy.evaluation import ReleasePolicy, load_policy, parse_policy

__all__ = ["ReleasePolicy", "load_policy", "parse_policy"]
