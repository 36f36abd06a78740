"""One module per data centre interface; a driver never imports another."""
