"""Top floor. Exercises that a machine grades and explains: what went wrong, never the solution."""

from .core import EXERCISES, Exercise, check, names

__all__ = ["EXERCISES", "Exercise", "check", "names"]
