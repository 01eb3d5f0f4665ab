"""A UniFi Access controller, emulated: its developer API on HTTPS (SPEC.md says what is known of the real one)."""
