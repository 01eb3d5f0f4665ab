"""What happened at the doors: a projection of the edge's access records."""
