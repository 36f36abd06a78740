"""Questions that are answered rather than stored: whose token is this, who am I, may somebody do something."""
