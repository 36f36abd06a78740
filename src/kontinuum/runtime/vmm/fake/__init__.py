"""An honest fake of the VMM port, for quick tests."""
