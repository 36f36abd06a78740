"""Admission webhooks: HTTPS servers of users that change or refuse requests (admissionregistration.k8s.io/v1).

    request ─▶ hooks (compiled once per change of the configurations) ─▶ does it match? ─▶ conditions true?
                                            ┌──────────────────────────────────────────────┘
                                            ▼
            AdmissionReview ─▶ client (one session, TLS per webhook) ─▶ answer: allowed, patch, warnings, annotations

Mutating webhooks are asked one after the other, in the order of their configurations' names; validating ones together.
Does not belong here: what rules and selectors mean (``admission.matching``), or conditions (``admission.expressions``).
"""
