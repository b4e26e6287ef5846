"""An app with an actor that measures how long its message took."""
