"""The PMS on the hotel's own network: a session over TCP that keeps presence and keys going with the cloud cut."""
