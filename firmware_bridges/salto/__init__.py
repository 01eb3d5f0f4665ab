"""SALTO, emulated: KS in the cloud (Connect API, a second factor for opening) and Space's Hospitality API."""
