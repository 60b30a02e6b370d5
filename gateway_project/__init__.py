"""The project: settings, entry points, supervisor."""
