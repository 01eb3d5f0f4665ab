"""Check-in from afar, and telling an edge that a guest has left."""
