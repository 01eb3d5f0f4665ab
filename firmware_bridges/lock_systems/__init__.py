"""What the emulators of foreign lock systems share: how a server misbehaves, and a server to misbehave on."""
