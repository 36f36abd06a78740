"""May this user do this? A port and its simplest answer; role-based rules will be another one beside it."""
