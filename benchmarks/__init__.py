"""One command each (``python -m benchmarks.NAME``); each prints its workload, percentiles and the machine's load."""
