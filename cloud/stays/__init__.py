"""Rooms, the mirror of reservations, stays and their life, and the slice of them that an edge holds."""
