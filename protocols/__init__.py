"""What two parties must agree on: pure, bytes and time in, bytes and facts out. SPEC.md beside each."""
