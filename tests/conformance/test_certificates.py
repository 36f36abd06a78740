"""Certificates by request: kubectl approves, our controllers sign, and the holder is who it says."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.conformance.cluster import Cluster
from tests.kubectls import newest_kubectl

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"


class Requester:
    """A key, and the certificate that somebody asks for with it."""

    def __init__(self, user: str, *groups: str, dns: tuple[str, ...] = ()) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        if dns:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in dns])
            builder = builder.add_extension(alternatives, critical=False)
        self.pem = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def manifest(self, name: str, signer: str, *usages: str, **spec: Any) -> dict[str, Any]:
        request = base64.b64encode(self.pem).decode()
        whole = {"request": request, "signerName": signer, "usages": list(usages), **spec}
        return {
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": name}, "spec": whole,
        }  # fmt: skip


def kubectl(cluster: Cluster, *arguments: str, given: Any = None, config: Path | None = None) -> str:
    command = [str(newest_kubectl()), "--kubeconfig", str(config or cluster.kubeconfig), *arguments]
    text = json.dumps(given) if given is not None else None
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def status(cluster: Cluster, name: str, *, until: str) -> dict[str, Any]:
    """The request's status once it has the field or condition ``until``."""
    for _ in range(600):
        found: dict[str, Any] = json.loads(kubectl(cluster, "get", "csr", name, "-o", "json")).get("status") or {}
        if found.get(until) or any(one["type"] == until for one in found.get("conditions") or ()):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{name} has no {until}: {found}")


def certificate_of(found: dict[str, Any]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(found["certificate"]))


def config_of(cluster: Cluster, requester: Requester, certificate: x509.Certificate, path: Path) -> Path:
    """A kubeconfig for the holder of ``certificate``."""
    document = json.loads(kubectl(cluster, "config", "view", "--raw", "-o", "json"))
    key = requester.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    document["users"][0]["user"] = {
        "client-certificate-data": base64.b64encode(pem).decode(), "client-key-data": base64.b64encode(key).decode(),
    }  # fmt: skip
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def test_who_is_approved_gets_a_certificate_and_can_use_it(cluster: Cluster, tmp_path: Path) -> None:
    jane = Requester("jane", "developers")
    manifest = jane.manifest("jane", CLIENT, "client auth", "digital signature", expirationSeconds=3600)
    assert "created" in kubectl(cluster, "create", "-f", "-", given=manifest)
    assert "Pending" in kubectl(cluster, "get", "csr", "jane")
    assert "approved" in kubectl(cluster, "certificate", "approve", "jane")
    issued = certificate_of(status(cluster, "jane", until="certificate"))
    assert "Approved,Issued" in kubectl(cluster, "get", "csr", "jane")
    lifetime = issued.not_valid_after_utc - issued.not_valid_before_utc
    assert timedelta(seconds=3600) <= lifetime <= timedelta(seconds=3600, minutes=6)
    extended = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    usage = issued.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and not usage.key_encipherment
    config = config_of(cluster, jane, issued, tmp_path / "config")
    who = json.loads(kubectl(cluster, "auth", "whoami", "-o", "json", config=config))["status"]["userInfo"]
    assert who["username"] == "jane" and set(who["groups"]) == {"developers", "system:authenticated"}


def test_nobody_else_is_approved_by_itself_and_a_denied_one_gets_nothing(cluster: Cluster) -> None:
    joe = Requester("joe")
    kubectl(cluster, "create", "-f", "-", given=joe.manifest("joe", CLIENT, "client auth"))
    assert "denied" in kubectl(cluster, "certificate", "deny", "joe")
    assert "certificate" not in status(cluster, "joe", until="Denied")
    assert "Denied" in kubectl(cluster, "get", "csr", "joe")


def test_what_breaks_its_signers_rules_fails_though_it_is_approved(cluster: Cluster) -> None:
    server = Requester("jane")
    kubectl(cluster, "create", "-f", "-", given=server.manifest("server", CLIENT, "server auth"))
    kubectl(cluster, "certificate", "approve", "server")
    (failed,) = [one for one in status(cluster, "server", until="Failed")["conditions"] if one["type"] == "Failed"]
    assert failed["reason"] == "SignerValidationFailure"
    assert "Approved,Failed" in kubectl(cluster, "get", "csr", "server")


def test_a_nodes_own_request_is_approved_by_what_it_may_do(cluster: Cluster, tmp_path: Path) -> None:
    node = Requester("system:node:n1", "system:nodes")
    usages = ("digital signature", "client auth")
    # Somebody who may bring nodes in, as kubeadm's bootstrap tokens do.
    kubectl(cluster, "create", "clusterrolebinding", "bootstrap", "--user=bootstrapper",
            "--clusterrole=system:certificates.k8s.io:certificatesigningrequests:nodeclient")  # fmt: skip
    kubectl(cluster, "create", "clusterrolebinding", "asks", "--user=bootstrapper",
            "--clusterrole=system:node-bootstrapper")  # fmt: skip
    made = kubectl(cluster, "create", "-f", "-", "--as=bootstrapper", given=node.manifest("n1", KUBELET, *usages))
    assert "created" in made, made
    found = status(cluster, "n1", until="certificate")
    (approved,) = found["conditions"]
    assert (approved["type"], approved["reason"]) == ("Approved", "AutoApproved")
    assert approved["message"] == "Auto approving kubelet client certificate after SubjectAccessReview."
    config = config_of(cluster, node, certificate_of(found), tmp_path / "config")
    assert "system:node:n1" in kubectl(cluster, "auth", "whoami", config=config)


@pytest.mark.parametrize(
    ("requester", "signer", "usages"),
    [
        (Requester("system:node:n2", "system:nodes"), KUBELET, ("digital signature", "client auth", "server auth")),
        (Requester("n2", "system:nodes"), KUBELET, ("digital signature", "client auth")),
        (Requester("system:node:n2", "system:nodes", dns=("n2",)), SERVING, ("digital signature", "server auth")),
    ],
    ids=["other usages", "another name", "a server's"],
)
def test_what_is_no_nodes_client_request_waits_for_a_person(
    cluster: Cluster, requester: Requester, signer: str, usages: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id.replace(" ", "-").replace("'", "")
    kubectl(cluster, "create", "-f", "-", given=requester.manifest(name, signer, *usages))
    probe = Requester("system:node:probe", "system:nodes").manifest(f"{name}-probe", KUBELET, "digital signature",
                                                                    "client auth")  # fmt: skip
    kubectl(cluster, "create", "-f", "-", given=probe)
    status(cluster, f"{name}-probe", until="certificate")
    assert "Pending" in kubectl(cluster, "get", "csr", name)


def test_a_nodes_serving_certificate_carries_its_names(cluster: Cluster) -> None:
    node = Requester("system:node:n3", "system:nodes", dns=("n3", "n3.example.com"))
    usages = ("digital signature", "server auth")
    kubectl(cluster, "create", "-f", "-", given=node.manifest("n3", SERVING, *usages))
    kubectl(cluster, "certificate", "approve", "n3")
    issued = certificate_of(status(cluster, "n3", until="certificate"))
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n3", "n3.example.com"]
    lifetime = issued.not_valid_after_utc - issued.not_valid_before_utc
    assert lifetime >= timedelta(days=365)
