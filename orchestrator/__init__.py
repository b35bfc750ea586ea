"""Brings the line up and keeps it up: settings, services, supervisor, health."""
