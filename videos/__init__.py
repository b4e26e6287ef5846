"""Videos in, searchable knowledge out: an app for any Django project."""
