"""The parameters that requests take, as OpenAPI tells of them: their types, and what they are for in a few words."""

from __future__ import annotations

from typing import Any

LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
WRITE = ("dryRun", "fieldManager", "fieldValidation")
APPLY = (*WRITE, "force")
DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
DELETE_MANY = tuple(sorted({*DELETE, *LIST} - {"allowWatchBookmarks", "watch"}))
ATTACH = ("container", "stderr", "stdin", "stdout", "tty")
EXEC = ("command", *ATTACH)
LOG = (
    "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "pretty", "previous", "sinceSeconds",
    "stream", "tailLines", "timestamps",
)  # fmt: skip
CONNECT = {"attach": ATTACH, "exec": EXEC, "portforward": ("ports",), "proxy": ("path",)}
"""What the subresources that open a connection take."""

INTEGERS = frozenset(
    {"gracePeriodSeconds", "limit", "limitBytes", "ports", "sinceSeconds", "tailLines", "timeoutSeconds"}
)
BOOLEANS = frozenset(
    {
        "allowWatchBookmarks", "follow", "force", "insecureSkipTLSVerifyBackend", "orphanDependents", "previous",
        "sendInitialEvents", "stderr", "stdin", "stdout", "timestamps", "tty", "watch",
    }
)  # fmt: skip
ABOUT = {
    "allowWatchBookmarks": "Send BOOKMARK events, which say how far a watch has come though nothing has changed.",
    "command": "The command to execute: repeated, once for each argument. It is run without a shell.",
    "container": "The container; may be left out if the pod has only one.",
    "continue": "The token of the page before, under which the list goes on as it then was. 410 once that is gone.",
    "dryRun": "With All nothing is stored; the answer is what it would be otherwise.",
    "fieldManager": "Who comes to own the fields that are written; at most 128 printable characters.",
    "fieldSelector": "Only objects whose fields have these values, as in status.phase!=Running.",
    "fieldValidation": "What happens to unknown and duplicate fields: Strict refuses them, Warn (the default) drops "
    "them and says so in a Warning header, Ignore drops them.",
    "follow": "Go on with what is logged from now on.",
    "force": "Take fields over from others who have set them; only for apply.",
    "gracePeriodSeconds": "Seconds until the object is removed; 0 is at once, nothing is the object's own period.",
    "insecureSkipTLSVerifyBackend": "Do not verify the certificate of the node that has the log.",
    "labelSelector": "Only objects with these labels, as in app=web,tier notin (test).",
    "limit": "At most so many objects; the answer says under which token the list goes on.",
    "limitBytes": "At most so many bytes of the log.",
    "name": "The name of the object.",
    "namespace": "The namespace of the object.",
    "orphanDependents": "Deprecated in favour of propagationPolicy: whether dependents are left alone.",
    "path": "The path at which the request goes on behind the proxy.",
    "ports": "The ports to forward, for WebSockets.",
    "pretty": "If true, JSON comes with line breaks; the default for browsers and command-line HTTP tools.",
    "previous": "The log of the container's instance before this one.",
    "propagationPolicy": "What happens to dependents: Background (they go afterwards), Foreground (they go first), "
    "Orphan (they stay).",
    "resourceVersion": "How new the answer has to be, or what it is to be as of; see resourceVersionMatch.",
    "resourceVersionMatch": "Exact: as of resourceVersion; NotOlderThan: as of then or later.",
    "sendInitialEvents": "Begin a watch with an event for everything there is, and a bookmark after the last of them.",
    "sinceSeconds": "Only what was logged in the last so many seconds.",
    "stderr": "Attach the standard error stream.",
    "stdin": "Attach the standard input stream.",
    "stdout": "Attach the standard output stream.",
    "stream": "Only this stream of the log: of the alpha feature PodLogsQuerySplitStreams, refused here.",
    "tailLines": "Only the last so many lines.",
    "timeoutSeconds": "End a list or watch after so many seconds.",
    "timestamps": "Begin each line with the time at which it was logged.",
    "tty": "Give the process a terminal.",
    "watch": "Answer changes as they come rather than a list.",
}


def parameter(name: str, place: str, *, version: int) -> dict[str, Any]:
    """One parameter in the words of OpenAPI 2 or 3; ``place`` is ``query`` or ``path``."""
    kind = "integer" if name in INTEGERS else "boolean" if name in BOOLEANS else "string"
    found: dict[str, Any] = {"name": name, "in": place, "description": ABOUT[name]}
    if place == "path":
        found["required"] = True
    typed = {"type": kind, "uniqueItems": True}
    return found | (typed if version == 2 else {"schema": typed})
