"""Exercises that a machine grades and explains: what went wrong, never the solution."""

from . import ch00, ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch10, ch11, ch12, ch13  # noqa: F401
from .core import EXERCISES, Exercise, check, names

__all__ = ["EXERCISES", "Exercise", "check", "names"]
