"""What an extension server has to know to believe us: the ConfigMap ``extension-apiserver-authentication``.

It holds the authorities of client certificates, the authority of front proxies, and the headers that these set. Every
server adds its own, so that during a change of authorities both are believed (Kubernetes'
``clusterauthenticationtrust``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import orjson
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kontinuum.api.kubernetes.resources import CONFIGMAPS
from kontinuum.api.machinery.objects import Object
from kontinuum.apiserver.authn.front_proxy import GROUP, NAME, UID
from kontinuum.apiserver.bootstrap import create_missing
from kontinuum.apiserver.context import Context
from kontinuum.apiserver.settings import ServerSettings
from kontinuum.store.port import Missing, StaleRevision

log = structlog.get_logger(__name__)

NAMESPACE, CONFIGMAP = "kube-system", "extension-apiserver-authentication"
EVERY_SECONDS = 60.0
CLIENT_CA, PROXY_CA = "client-ca-file", "requestheader-client-ca-file"
ALLOWED_NAMES = "requestheader-allowed-names"
Data = dict[str, str]


async def keep_published(context: Context) -> None:
    """Look again every minute, since authorities are renewed. Ends only by cancellation."""
    while True:
        await context.clock.sleep(EVERY_SECONDS)
        await publish(context)


async def publish(context: Context) -> None:
    """Write it, or add to it what is ours."""
    try:
        await _publish(context, trust_of(context.settings))
    except (OSError, ValueError) as error:
        log.error("the authorities for extension servers cannot be published", reason=str(error))


async def _publish(context: Context, wanted: Data) -> None:
    """Raises ValueError for what is no certificate, or no list."""
    if not wanted:
        return
    now = context.clock.time()
    metadata = {"name": CONFIGMAP, "namespace": NAMESPACE}
    await create_missing(context, CONFIGMAPS, [{"metadata": metadata, "data": merged({}, wanted, now=now)}])
    served = context.served[CONFIGMAPS]
    record = await context.store.get(served.layout.key(NAMESPACE, CONFIGMAP))
    if record is None:
        return
    obj: Object = orjson.loads(record.value)
    obj["data"] = merged(obj.get("data") or {}, wanted, now=now)
    value = served.layout.encode(obj)
    if value != record.value:
        try:
            await context.store.update(record.key, value, expected=record.revision)
        except (StaleRevision, Missing):
            return  # Another server was faster; the next look adds what is missing.


def trust_of(settings: ServerSettings) -> Data:
    """The ConfigMap's data as far as this server knows it. Raises OSError."""
    found: Data = {}
    if settings.client_ca is not None:
        found[CLIENT_CA] = _text(settings.client_ca)
    if settings.front_proxy_ca is not None:
        found |= {
            PROXY_CA: _text(settings.front_proxy_ca),
            ALLOWED_NAMES: json.dumps(list(settings.front_proxy_names)),
            "requestheader-username-headers": json.dumps([NAME]),
            "requestheader-uid-headers": json.dumps([UID]),
            "requestheader-group-headers": json.dumps([GROUP]),
            "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        }
    return found


def merged(there: Data, wanted: Data, *, now: float) -> Data:
    """Both servers' authorities and lists; without certificates that have expired. Raises ValueError."""
    made = dict(there)
    for key, value in wanted.items():
        old = there.get(key, "")
        if key in (CLIENT_CA, PROXY_CA):
            made[key] = _bundle(old, value, now=now)
        elif key == ALLOWED_NAMES and (json.loads(value) == [] or (old and json.loads(old) == [])):
            made[key] = "[]"  # Nobody is left out by a list that another server has not made.
        else:
            made[key] = json.dumps(list(dict.fromkeys([*_listed(old), *_listed(value)])))
    return made


def _bundle(old: str, new: str, *, now: float) -> str:
    found: dict[bytes, x509.Certificate] = {}
    for text in (old, new):
        for certificate in _certificates(text):
            found[certificate.public_bytes(Encoding.DER)] = certificate
    return "".join(
        one.public_bytes(Encoding.PEM).decode() for one in found.values() if one.not_valid_after_utc.timestamp() > now
    )


def _certificates(text: str) -> Sequence[x509.Certificate]:
    return x509.load_pem_x509_certificates(text.encode()) if text.strip() else ()


def _listed(text: str) -> list[str]:
    return [str(one) for one in json.loads(text)] if text else []


def _text(path: Path) -> str:
    return path.read_text()
