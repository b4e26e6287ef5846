"""This machine: processes with less trust than our own, and folders for their work."""
