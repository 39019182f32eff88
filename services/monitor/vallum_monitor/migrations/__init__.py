"""The revisions of the monitor's database."""
