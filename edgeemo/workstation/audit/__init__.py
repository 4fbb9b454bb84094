"""What leaks from training to test: `edgeemo audit`."""
