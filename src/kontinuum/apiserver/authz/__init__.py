"""May this user do that: pure decisions over attributes of a request."""
