"""The one exception that programs print as a single line."""


class UserError(Exception):
    """Something the person at the keyboard can mend.

    Its message is one line that says what was given, what was expected and what to do. Programs
    print it without a traceback and exit with code 1; anything else is a defect and keeps its
    traceback.
    """
