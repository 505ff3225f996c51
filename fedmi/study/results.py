"""The folders of results."""

from fedmi.sampling.checks import Plain


class MissingResults(Plain, FileNotFoundError):
    """What a notebook works on has not been made yet; the message says what makes it."""
