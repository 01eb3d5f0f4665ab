"""An ASSA ABLOY Visionline server, emulated with its encoders and its off-line locks (SPEC.md says what is known)."""
