"""Pure helpers that reconcilers share: owner references, pod templates, conditions."""
