"""Tokens of other issuers (OpenID Connect and the like), as an ``AuthenticationConfiguration`` describes them.

    file ─▶ configuration (shape) ─▶ validation (rules) ─▶ mapping (expressions) ─┐
                                                                                 ▼
    token ─▶ issuer? ─▶ signature (keysets) ─▶ times ─▶ audience ─▶ claims ─▶ rules ─▶ user ─▶ rules

Here: everything between such a token and a user. Not here: this cluster's own service accounts (``serviceaccounts``),
and whom a webhook has to ask (``webhook``).
"""
