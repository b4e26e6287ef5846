"""Breaks everything around the workers, and checks that nothing is lost or paid for twice."""
