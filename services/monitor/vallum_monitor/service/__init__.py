"""What the monitor does, as use cases; and, as protocols, what it needs from outside."""
