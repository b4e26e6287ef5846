"""The durable engine: events, runs, steps, claims, workers. It knows nothing of videos."""
