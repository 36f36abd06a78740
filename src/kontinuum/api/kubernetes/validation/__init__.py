"""What is wrong with an object, in Kubernetes' own words and field paths (its ``pkg/apis/*/validation``)."""
