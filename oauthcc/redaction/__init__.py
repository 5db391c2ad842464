"""Everything that removes secrets and tokens from texts, errors and logs.

Rule of this folder: nothing else replaces a secret or a token in a text. To audit that none is
shown, read these files, and know what other modules leave out from the beginning:
``urls.public_url`` drops userinfo, query and fragment, fields of values have ``repr=False``,
frames.py removes the local variables of frames, and messages of `secret` and `settings` name no
value.

Rule of all functions here: the time is linear in the size of the text, whatever the text and the
secrets are, because a broken server may choose both. What would need many steps for each character
(many escapes, many tokens, many values) is limited, and what exceeds a limit is hidden completely.

Only what every request needs is imported here. The other files compile many patterns, so they are
imported at first use.
"""

from .header import REDACTED, SecretHeader, plain_text

__all__ = ["REDACTED", "SecretHeader", "plain_text"]
