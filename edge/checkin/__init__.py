"""Check-in and check-out at the edge: with or without a line to anybody."""
