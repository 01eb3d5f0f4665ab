"""A full day of a hotel with the line cut for three hours at four in the afternoon: `innkeeper rehearse day`."""
