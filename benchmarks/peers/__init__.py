"""The same work on what people would use instead, for the benchmarks."""
