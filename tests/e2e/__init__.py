"""The whole thing, as somebody uses it."""
