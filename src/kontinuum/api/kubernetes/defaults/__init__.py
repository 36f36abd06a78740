"""What Kubernetes 1.36 fills in for fields that were left out (its ``pkg/apis/*/v1/defaults.go``), in place."""
