"""Subscriptions and the notifications on their way."""
