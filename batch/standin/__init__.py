"""The stand-in service, for tests, the demo, and whoever wants to try before paying."""
