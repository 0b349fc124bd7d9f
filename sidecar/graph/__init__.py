"""Talking to Microsoft: Graph's calendars and subscriptions, and the login service that opens them."""
