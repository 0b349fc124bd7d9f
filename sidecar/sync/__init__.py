"""Keeping the store equal to Exchange."""
