"""What kind of processor this host has, in Go's words, which are those of images and of Kubernetes."""

from __future__ import annotations

import platform

_WORDS = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


def architecture() -> str:
    """``amd64``, ``arm64`` ...; the kernel's own word where we know no other."""
    return _WORDS.get(platform.machine(), platform.machine())
