"""For machines that watch: is it alive, is it ready, what does it do."""
