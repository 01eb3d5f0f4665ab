"""Device descriptors: one file a model drives bridge, emulator, form, documentation and fuzzer. See SPEC.md."""
