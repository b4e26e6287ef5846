"""Words as data: pure functions over texts."""
