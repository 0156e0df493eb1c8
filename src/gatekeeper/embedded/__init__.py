"""A PostgreSQL of our own, for whoever has no database yet: started, found and stopped from here.

`EmbeddedPostgres` starts one on a data directory and `find_running` finds the one that another
process of the same user has started. Which binaries run is told in `binaries`, as whom and how
that user reaches the data in `privileges`, what lies where in `layout`.
"""

from gatekeeper.embedded.connection import find_running
from gatekeeper.embedded.errors import (
    BinariesNotFoundError,
    BinariesUnreachableError,
    DataDirectoryError,
    DataDirectoryInUseError,
    DataDirectoryUnusableError,
    DataDirectoryVersionError,
    EmbeddedError,
    InitializationFailedError,
    NotStartedError,
    StartFailedError,
    UnprivilegedUserMissingError,
    UnprivilegedUserRefusedError,
)
from gatekeeper.embedded.launcher import EmbeddedPostgres
from gatekeeper.embedded.layout import default_data_dir
from gatekeeper.embedded.options import EmbeddedSettings

__all__ = [
    "BinariesNotFoundError",
    "BinariesUnreachableError",
    "DataDirectoryError",
    "DataDirectoryInUseError",
    "DataDirectoryUnusableError",
    "DataDirectoryVersionError",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedSettings",
    "InitializationFailedError",
    "NotStartedError",
    "StartFailedError",
    "UnprivilegedUserMissingError",
    "UnprivilegedUserRefusedError",
    "default_data_dir",
    "find_running",
]
