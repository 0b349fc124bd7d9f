"""Remembering: the copy of the calendars, the log of changes, credentials, and what is due."""
