"""PATCH with ``application/apply-patch+yaml``: server-side apply (KEP-555).

config ──check──▶ merge into what is there ──▶ prune what only its last version named ──▶ conflicts? ──▶ store
                  (nothing there: create)
"""

from __future__ import annotations

import orjson
from aiohttp.web_response import StreamResponse

from kontinuum.api.kubernetes.validation.metadata import MAXIMUM_ANNOTATIONS
from kontinuum.api.machinery import codecs, fields, fieldsets, managed_fields, merging, status
from kontinuum.api.machinery.comparing import applied, compare
from kontinuum.api.machinery.fieldsets import Fields
from kontinuum.api.machinery.managed_fields import APPLY
from kontinuum.api.machinery.objects import Object
from kontinuum.api.machinery.patches import copy
from kontinuum.api.machinery.shapes import Shape
from kontinuum.api.machinery.status import ApiError
from kontinuum.apiserver import options, ownership, writing
from kontinuum.apiserver.admission.requests import View
from kontinuum.apiserver.body import check_shape, read_bytes
from kontinuum.apiserver.call import Call
from kontinuum.apiserver.context import Context, Served
from kontinuum.apiserver.ownership import author_of, reset_fields
from kontinuum.apiserver.presenting import answer
from kontinuum.apiserver.storing import Stored, change, check_may_create, insert
from kontinuum.apiserver.verbs.update import check_name, settle

APPLY_PATCH = "application/apply-patch+yaml"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
"""The manager whose applies take over from, and keep up, client-side apply's annotation."""


async def apply(context: Context, served: Served, call: Call) -> StreamResponse:
    """Make the object as the configuration says; 200, or 201 if there was none.

    Raises ApiError 400, 403, 404 (a subresource of nothing), 409, 413, 415, 422.
    """
    request = Apply(context, served, call, await read_configuration(context, call))
    request.check()
    stored = await request.store(dry_run=options.dry_run(call))
    return answer(context, call, served, stored.value, 201 if stored.created else 200)


def check_options(call: Call) -> bool:
    """Whether to force. Raises ApiError 400, 422."""
    if not call.query.get("fieldManager"):
        cause = fields.required("fieldManager", "is required for apply patch")
        raise status.invalid("PatchOptions", "", [cause], group="meta.k8s.io")
    ownership.check_manager(call, "PatchOptions")
    return call.flag("force")


async def read_configuration(context: Context, call: Call) -> Object:
    """The body, which is YAML or JSON. Raises ApiError 400, 413."""
    body = await read_bytes(context, call)
    mode = options.field_validation(call)
    config, duplicates = codecs.decode_configuration(body, strictly=mode != "Ignore")
    if duplicates and mode == "Strict":
        raise status.bad_request(f"error strict decoding YAML: {duplicates}")
    if duplicates:
        call.warnings.append(duplicates)
    return config


class Apply:
    """One apply request. ``decide`` may be asked again when other writers were faster."""

    def __init__(
        self, context: Context, served: Served, call: Call, config: Object, *, view: View | None = None
    ) -> None:
        """``view``: what admission sees, where that is of another kind."""
        self._context = context
        self._view = view
        self._served = served
        self._call = call
        self._config = config
        self._shape: Shape = served.kind.shape
        self._force = check_options(call)
        self._ignored = reset_fields(served, call.route.subresource)

    def check(self) -> None:
        """Raises ApiError 400 for a configuration that cannot be one of this kind."""
        resource, config = self._served.resource, self._config
        version, kind = str(config.get("apiVersion") or ""), str(config.get("kind") or "")
        if (version, kind) != (resource.api_version, resource.kind):
            raise status.bad_request(f"invalid object type: {_shown(version, kind)}")
        metadata = writing.metadata_of(config)
        if metadata.get("managedFields") is not None:
            raise status.bad_request("metadata.managedFields must be nil")
        try:
            merging.check(config, self._shape)
        except merging.Malformed as problem:
            where = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}; {_shown(version, kind)}"
            raise status.bad_request(f"failed to create typed patch object ({where}): {problem}") from None
        writing.check_namespace(resource, metadata, self._call.route.namespace)
        check_name(metadata, self._call.route.name)

    async def store(self, *, dry_run: bool) -> Stored:
        """Update what is there, or create it; again if somebody creates or deletes it meanwhile."""
        context, served, call = self._context, self._served, self._call
        while True:
            try:
                return await change(
                    context, served, call, self._decide, dry_run=dry_run, tracked=False, view=self._view
                )  # fmt: skip
            except ApiError as error:
                if not error.is_not_found or call.route.subresource:
                    raise
            obj = self._first()
            check_may_create(context, call)
            try:
                return await insert(context, served, call, obj, dry_run=dry_run, tracked=False)
            except ApiError as error:
                if not error.is_already_exists:
                    raise

    def _decide(self, old: Object) -> Object:
        served, call = self._served, self._call
        author = author_of(served, call, APPLY, now=self._context.clock.time())
        owners = ownership.owners_before_apply(old, self._shape, author, ignored=self._ignored)
        config = copy(self._config)
        result = managed_fields.apply(
            old, config, self._shape, owners, author,
            force=self._force, ignored=self._ignored, tolerated=lambda: self._tolerated(old),
        )  # fmt: skip
        # The result shares parts with the old object, which what follows is compared with.
        new: Object = copy({**result.obj, "kind": config["kind"], "apiVersion": config["apiVersion"]})
        self._keep_up_annotation(new, config)
        check_shape(served, call, new)
        new["metadata"].update({key: config["metadata"][key] for key in SENT if key in config["metadata"]})
        new = settle(served, call, new, old)
        ownership.write_owners(new, result.owners)
        return new

    def _first(self) -> Object:
        """The object that the configuration makes where there was none."""
        config = copy(self._config)
        if config["metadata"].get("uid"):
            raise _no_such_incarnation(self._served, config["metadata"])
        author = author_of(self._served, self._call, APPLY, now=self._context.clock.time())
        nothing: Object = {"metadata": {}}
        result = managed_fields.apply(nothing, config, self._shape, {}, author, ignored=self._ignored)
        metadata = {**config["metadata"], **result.obj["metadata"]}
        new: Object = {**result.obj, "kind": config["kind"], "apiVersion": config["apiVersion"], "metadata": metadata}
        check_shape(self._served, self._call, new)
        metadata.pop("resourceVersion", None)
        writing.begin(metadata, now=self._context.clock.time())
        ownership.write_owners(new, result.owners)
        return new

    def _tolerated(self, old: Object) -> Fields:
        """Fields that client-side apply has set, and nobody has changed since: kubectl may take them over."""
        if ownership.manager_of(self._call) != KUBECTL:
            return {}
        try:
            last = orjson.loads((old["metadata"].get("annotations") or {}).get(LAST_APPLIED) or "")
            if last["apiVersion"] != self._served.resource.api_version:
                return {}
            merging.check(last, self._shape)
        except (orjson.JSONDecodeError, KeyError, TypeError, merging.Malformed):
            return {}
        differs = compare(last, old, self._shape)
        named = applied(last, self._shape) or {}
        return fieldsets.difference(named, fieldsets.union(differs.taken, differs.removed))

    def _keep_up_annotation(self, new: Object, config: Object) -> None:
        annotations = new["metadata"].get("annotations") or {}
        if ownership.manager_of(self._call) != KUBECTL or not annotations.get(LAST_APPLIED):
            return
        bare = copy(config)
        (bare["metadata"].get("annotations") or {}).pop(LAST_APPLIED, None)
        annotations[LAST_APPLIED] = orjson.dumps(bare, option=orjson.OPT_SORT_KEYS).decode() + "\n"
        if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAXIMUM_ANNOTATIONS:
            del annotations[LAST_APPLIED]


SENT = ("resourceVersion", "uid")
"""What of its metadata a configuration may say to mean one state of one incarnation."""


def _no_such_incarnation(served: Served, metadata: Object) -> ApiError:
    problem = f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
    return status.conflict(served.resource, metadata["name"], problem)


def _shown(version: str, kind: str) -> str:
    """A GroupVersionKind as Go prints it."""
    group, _, version = version.rpartition("/")
    return f"{group}/{version}, Kind={kind}"
