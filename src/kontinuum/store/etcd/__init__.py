"""Room for the distributed engine; the port and its conformance suite are written so that it can follow."""
