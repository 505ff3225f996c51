"""Samples of client-computed parameters: what they depend on, local SGD, and their store."""
