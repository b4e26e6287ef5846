"""Pages for creators and learners: what one may see, watched and found to the second."""
