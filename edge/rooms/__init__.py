"""A room as the hotel means it: what it can do, who is in it, how it should feel; no vendor, no bus, no radio."""
