"""The Chronos project: settings, broker, URLs, and the one-machine default."""
