"""What an engineer does with descriptors: check, begin, read as a page, run as an emulator, import from others."""
