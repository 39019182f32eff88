"""What the validator knows: values and pure rules."""
