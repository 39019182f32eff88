"""What all five services need and must not differ on; and the generated contracts."""
