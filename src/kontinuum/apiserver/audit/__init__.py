"""Who has done what: a line of JSON for each stage of each request that the policy wants to see (``audit.k8s.io/v1``).

    request ──▶ policy: None | Metadata | Request | RequestResponse ──▶ record ──▶ events ──▶ log (a thread of its own)

Without a policy there are no records, and nothing here is called.
"""
