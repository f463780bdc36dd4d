"""The registry of checks in a VM: groups, each with a machine of its own that is set up once.

A check is a function that takes the group's world and returns when it is satisfied; it raises Failed (or
AssertionError) with the reason. The checks of a group run in order on one machine, and each leaves it as it found it.
"""
from dataclasses import dataclass
from typing import Callable


@dataclass
class Check:
    name: str
    sentence: str
    function: Callable
    smoke: bool


class Checks:
    """A list of checks, in the order in which they are made."""

    def __init__(self):
        self.checks = []

    def check(self, function):
        """Registers a check of the full run."""
        return self._register(function, smoke=False)

    def smoke(self, function):
        """Registers a check that CI runs, too."""
        return self._register(function, smoke=True)

    def add(self, others):
        """Those of another list come here."""
        self.checks += others.checks

    def _register(self, function, smoke):
        self.checks.append(Check(function.__name__, function.__doc__.splitlines()[0], function, smoke))
        return function


class Group(Checks):
    """`prepare(machine)` makes the world that its checks get."""

    def __init__(self, name, prepare):
        super().__init__()
        self.name = name
        self.prepare = prepare
