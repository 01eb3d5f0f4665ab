"""The time series of the cloud: readings by when they were so, their roll-ups, and how long each is kept."""
