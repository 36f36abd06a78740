"""Group versions that other servers answer: an APIService says which, and behind which Service they are.

    client ──▶ authentication ─▶ authorization ─▶ Proxy ──X-Remote-User ...──▶ extension server
                                                    │ where?                       ▲
               APIServices ──▶ Extensions ──────────┘                              │ is it there? what does it serve?
                                  └────────▶ Keeper ───────────────────────────────┘
                                               └──▶ condition Available; discovery and OpenAPI

Here: finding and asking extension servers, and the APIServices of what this server answers itself.
Not here: the rules of the kind APIService (``api.kubernetes``), and authentication of front proxies (``authn``).
"""
