"""The stage `transcribe`: a file, or a person's captions → audio parts → segments."""
