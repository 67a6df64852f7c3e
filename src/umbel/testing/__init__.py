"""Tools for tests: of apps that use umbel, of engines, and of umbel itself."""
