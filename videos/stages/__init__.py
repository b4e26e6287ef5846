"""The stages of processing a video; each reads and writes what `pipelines` says."""
