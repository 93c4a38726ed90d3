"""`python -m ocaserve.settings`: print the reference of the settings."""

from ocaserve.settings.manual import describe_settings

print(describe_settings(), end="")
