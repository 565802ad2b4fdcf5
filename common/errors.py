"""The one exception that reaches a user as a sentence instead of a traceback."""


class UserError(Exception):
    """Something the user can mend. The message is one clear sentence naming the file or flag and what to do."""
