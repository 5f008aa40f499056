"""What lies on both sides of a split: people, takes, copied media."""
