"""What is done about an alert, by policy."""
