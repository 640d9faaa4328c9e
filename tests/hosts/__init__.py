"""Captured hosts: see README.md here."""
