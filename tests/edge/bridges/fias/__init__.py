"""The session to the PMS on the hotel's own network."""
