"""A course platform that shows lessons by Chronos: teachers upload, students find the moment."""
