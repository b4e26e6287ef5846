"""The JSON API: what the pages do, for programs of creators, under `/api/v1/`."""
