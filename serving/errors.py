"""Errors of the service; what each is to a caller over HTTP stands in serving/api/problems.py.

ServingError
├── NotAuthenticated         no key, or one that nobody holds
├── NotPermitted             the key's role may not do this; carries `role` and `allowed`
├── TooManyRequests          the key is over its rate; carries `retry_after` seconds
├── TooManySignIns           too many sign-ins failed from one address; carries `retry_after` seconds
├── Overloaded               more is asked than can be answered in time
├── NoRelease                no champion or no build is loaded yet
├── ReleaseMismatch          model and features do not fit together
├── UnknownDecision          no decision by that id; carries `decision_id`
├── OutcomeConflict          the decision has another outcome already
├── IdempotencyConflict      the Idempotency-Key was used with another request
├── UnknownAction            an excluded action that the business does not have; carries `unknown` and `allowed`
├── UnknownExperiment        no experiment by that name; carries `name`
├── UnknownExposure          the customer never met the experiment; carries `name` and `customer_id`
├── InvalidExperiment        what no schema can say of an experiment
├── ExperimentConflict       the name is taken, or two experiments would bear on the same decisions
├── ExperimentOutcomeConflict  the customer has another outcome in the experiment; carries `name` and `customer_id`
├── InvalidCursor           the cursor is not ours, or older than seven days
├── FormForged               a page's form came from elsewhere, or from a session that has ended
├── FormInvalid              a field of a page's form is missing or wrong; says which
├── NoEventLog               the business is a table: it has no log that events could go to
└── CommandError             what a command was asked for cannot be done
    ├── PortTaken            another process listens there
    ├── KeyNameTaken         a key by that name stands already
    └── UnknownKey           no key by that name
"""

from __future__ import annotations

from collections.abc import Sequence


class ServingError(Exception):
    """Base of every error that the service itself raises; the message is one sentence for the caller."""


class NotAuthenticated(ServingError):
    """The request has no API key, or one that nobody holds."""

    def __init__(self, *, presented: bool) -> None:
        self.presented = presented
        super().__init__(
            "This API key is not valid: it was mistyped or revoked."
            if presented
            else "Send an API key in the header 'Authorization: Bearer KEY'."
        )


class NotPermitted(ServingError):
    """The key is good, but its role may not do this."""

    def __init__(self, role: str, allowed: Sequence[str]) -> None:
        self.role = role
        self.allowed = tuple(allowed)
        super().__init__(f"A key with the role '{role}' may not do this; it takes {' or '.join(self.allowed)}.")


class TooManyRequests(ServingError):
    """The key asks faster than its rate; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(f"This key is over its request rate: try again in {retry_after:.0f} s.")


class TooManySignIns(ServingError):
    """Too many sign-ins failed from one address; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__("Too many keys that nobody has came from where you are. Wait a minute, then try again.")


class Overloaded(ServingError):
    """More is asked than can be answered in time."""

    def __init__(self) -> None:
        super().__init__("The server is asked for more than it can answer in time; try again in a second.")


class NoRelease(ServingError):
    """No champion model, or no build, is loaded yet; the message says which."""


class ReleaseMismatch(ServingError):
    """A model and a build of the features do not fit together."""


class UnknownDecision(ServingError):
    """No decision by that id."""

    def __init__(self, decision_id: str) -> None:
        self.decision_id = decision_id
        super().__init__(f"No decision has the id '{decision_id}'.")


class OutcomeConflict(ServingError):
    """The decision has another outcome already."""

    def __init__(self, decision_id: str) -> None:
        self.decision_id = decision_id
        super().__init__(f"The decision '{decision_id}' already has another outcome; the first one stands.")


class IdempotencyConflict(ServingError):
    """The Idempotency-Key was used with another request."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"The Idempotency-Key '{key}' was used with another request; take a new key.")


class UnknownAction(ServingError):
    """The request excludes actions that the business does not have."""

    def __init__(self, unknown: Sequence[str], allowed: Sequence[str]) -> None:
        self.unknown = tuple(unknown)
        self.allowed = tuple(allowed)
        names = ", ".join(repr(name) for name in self.unknown)
        super().__init__(f"No such action: {names}; this business has {', '.join(self.allowed) or 'none'}.")


class UnknownExperiment(ServingError):
    """No experiment by that name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"No experiment has the name '{name}'.")


class UnknownExposure(ServingError):
    """The customer never met the experiment."""

    def __init__(self, name: str, customer_id: str) -> None:
        self.name = name
        self.customer_id = customer_id
        super().__init__(f"The customer '{customer_id}' never met the experiment '{name}': ask for the arm first.")


class InvalidExperiment(ServingError):
    """The experiment cannot be: it ends before it starts, or two arms have one name."""


class ExperimentConflict(ServingError):
    """The experiment cannot stand beside those that there are."""


class ExperimentOutcomeConflict(ServingError):
    """The customer has another outcome in the experiment already."""

    def __init__(self, name: str, customer_id: str) -> None:
        self.name = name
        self.customer_id = customer_id
        super().__init__(
            f"The customer '{customer_id}' already has another outcome in the experiment '{name}'; the first one stands."
        )


class InvalidCursor(ServingError):
    """The cursor is not one of ours, or older than seven days; start again with `changed_since`."""


class FormForged(ServingError):
    """A form did not come from a page of this session."""

    def __init__(self) -> None:
        super().__init__("This form does not belong to your session: load the page again, and repeat.")


class FormInvalid(ServingError):
    """A field of a form is missing or wrong; the message is for the person who filled it in."""


class NoEventLog(ServingError):
    """The business is a table: nothing that comes in live would ever be counted."""

    def __init__(self) -> None:
        super().__init__("This business is a table of customers: it has no event log, so no event can be taken.")


class CommandError(ServingError):
    """What a command was asked for cannot be done; the message says what to do."""


class PortTaken(CommandError):
    """Another process listens on that address."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"Cannot listen on {host}:{port} ({reason}): set HOST or PORT to another address.")


class KeyNameTaken(CommandError):
    """A key by that name stands already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"A key named '{name}' exists: revoke it first, or take another name.")


class UnknownKey(CommandError):
    """No key by that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No key is named '{name}': 'python -m serving key list' shows the names.")
