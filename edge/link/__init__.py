"""The uplink: batches and live state up; acks, commands and desired documents down."""
