"""The hand that moves what the emulator plays, on a port of its own."""
