"""What a building is made of: identity, capabilities, readings, commands and the site plan. See SPEC.md."""
