"""Keeps Microsoft Exchange room calendars and a workplace product in step, behind a gRPC API."""
