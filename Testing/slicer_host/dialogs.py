"""Modal dialogs: a test says beforehand what the user answers, and reads afterwards what was asked.

A modal dialog without an answer would wait for ever, so it raises :class:`UnexpectedDialog` instead.
"""

from dataclasses import dataclass


class UnexpectedDialog(AssertionError):
    """A modal dialog was opened, and the test had prepared no answer."""


@dataclass(frozen=True)
class ShownDialog:
    """One dialog that the module opened: its kind (class or static function), title and text."""

    kind: str
    title: str
    text: str


class Dialogs:
    """The answers still to give (first in, first out) and the dialogs shown so far."""

    def __init__(self):
        self._answers = []
        self.shown = []

    def answer_next(self, *answers):
        """Answer the next dialogs: a button for message boxes, a result code for dialogs, a path for file dialogs."""
        self._answers.extend(answers)

    def clear(self):
        """Forget what was shown; returns the answers that no dialog asked for."""
        unused, self._answers, self.shown = self._answers, [], []
        return unused

    def ask(self, kind, title="", text=""):
        """Record a dialog and return the prepared answer."""
        self.shown.append(ShownDialog(kind, str(title), str(text)))
        if not self._answers:
            raise UnexpectedDialog(f"{kind} {title!r} opened without a prepared answer: {text}")
        return self._answers.pop(0)
