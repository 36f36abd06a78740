"""What is wrong with an object, in Kubernetes' own words and field paths (k8s.io/kubernetes ``pkg/apis/*/validation``)."""
