"""Admission policies: rules of users in CEL that judge or change requests (admissionregistration.k8s.io/v1).

    policies, bindings ──follow──▶ hooks (compiled once per change) ──▶ does the policy match? does the binding?
                                                 ┌──────────────────────────────────┘
                                                 ▼
              parameters of the binding ──▶ match conditions ──▶ validating: denials, warnings, audit annotations
                                            (per parameter)      mutating: patches, applied one after the other

A policy does nothing without a binding. Whatever goes wrong on the way is settled by the policy's ``failurePolicy``.
``typechecking`` tells users what their expressions will stumble over, in the policy's status.
Does not belong here: what rules and selectors mean (``admission.matching``), what expressions may use
(``api.kubernetes.expressions``), or what is wrong with a policy as an object (``api.kubernetes.validation.policies``).
"""
