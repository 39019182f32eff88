"""What compliance knows: evidence, decisions and the entries of the audit log. Values and pure rules only."""
