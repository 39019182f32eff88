"""What the monitor knows: facts about what serves, traffic, alerts, corrections, and the four metrics. Pure rules."""
