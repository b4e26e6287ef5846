"""Sound: what is in it, and when."""
