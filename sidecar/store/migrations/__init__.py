"""Alembic's scripts; reached through `store/migrate.py` only."""
