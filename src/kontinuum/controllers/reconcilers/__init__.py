"""One file per kind; a reconciler never imports another."""
