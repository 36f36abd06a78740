"""The environment of every part's process: what keeps its memory small."""

from __future__ import annotations

SLIM = {
    # One arena: a part has one busy thread, and each further arena costs memory that is never given back.
    "MALLOC_ARENA_MAX": "2",
    # Each TLS connection has a buffer of 256 KB. When the first one is freed, glibc begins to take such blocks from the
    # heap, where they leave holes (11 MB after some hundred watches); a threshold that is set stays.
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    # numpy would start a thread for each core as it is imported; the scheduler multiplies no matrices.
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
