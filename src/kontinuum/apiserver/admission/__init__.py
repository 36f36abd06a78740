"""Changes and refusals between authorization and the store, in Kubernetes order."""
