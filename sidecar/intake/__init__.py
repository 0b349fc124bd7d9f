"""Where Microsoft calls us."""
