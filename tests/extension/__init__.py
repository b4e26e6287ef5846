"""What docs/extending.md shows: a stage and a transcription provider of one's own."""
