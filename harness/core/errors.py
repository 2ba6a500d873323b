"""Errors caused by the user's input. Each names the thing, its value and the fix; the command ends with exit code 2."""


class HarnessError(Exception):
    """The user's input cannot be used as it is. The message says what to change.

    Examples:
        >>> try:
        ...     harness.load("fotos")
        ... except harness.HarnessError as error:
        ...     print(error)
    """

    exit_code = 2


class SpecError(HarnessError):
    """A study, a flag or a search space that cannot be run."""


class DataError(HarnessError):
    """Images or labels that cannot be used."""


class WeightsError(HarnessError):
    """A backbone's weights are missing, corrupt or of a wrong shape."""


class StorageError(HarnessError):
    """A database, cache or output folder that cannot be used."""
