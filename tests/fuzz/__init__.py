"""Fuzzing of everything that reads what others have written: the network, and files from elsewhere."""
