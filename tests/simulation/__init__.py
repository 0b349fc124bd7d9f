"""The whole service and the emulator in one event loop, on virtual time, with seeded faults; see tests/README.md."""
