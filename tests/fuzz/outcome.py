"""What is asked of a message."""

LONGEST = 330
"""Characters, with the program's name in front."""


def fault_in_message(message: str, name: str | None) -> str | None:
    """What is wrong with a message, None for nothing. **Arguments:** `name`: of the file that it has to tell of."""
    if len(message) > LONGEST:
        return f"a message of {len(message)} characters"
    if not message.isprintable():
        return "a message with control characters"
    if name is not None and name not in message and name.rpartition(".")[0] not in message:
        return "no name in the message"
    return None
