"""OpenID Connect as a relying party: the client, and an emulated provider that misbehaves."""
