"""Transcription and embedding services: what they can do, how they are called."""
