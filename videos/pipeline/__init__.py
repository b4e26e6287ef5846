"""From a file to searchable knowledge, stage by stage."""
