"""Async tools that know nothing of calendars."""
