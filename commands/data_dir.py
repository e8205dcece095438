"""What is where in the embedded gateway's data directory."""

DATABASE_FILE = "sluice.db"
"""Ledger, journal and event log in one file, so that they share one fsync."""
