"""The one-machine default: Postgres, Redis and an AI server, each only where no URL is given."""
