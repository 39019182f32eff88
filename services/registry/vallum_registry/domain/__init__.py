"""What the registry knows, as values, and the rules that hold between them; no I/O, no clock, no randomness."""
