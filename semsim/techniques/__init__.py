"""The survey's families as transformations that any system can use: nothing here knows one net or one payload."""
