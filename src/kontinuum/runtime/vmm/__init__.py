"""Virtual machine monitors behind one port, with a conformance suite; a backend never imports another."""
