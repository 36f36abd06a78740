"""What every kind shares: metadata, quantities, selectors, patches, conditions, codecs. Knows no single kind."""
