"""What credentials look like: each kind by the form its issuer gives it, strict enough that weights never match.

Most expressions are text here, and compiled when something that begins alike is seen: few scans come to that.

Every expression begins and ends where the token does. Inside long runs of random letters, as embedded weights are, a
token of fixed length that begins and ends by chance is what false alarms are made of; see `tests/test_secrets.py`.
"""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = rb"[A-Za-z0-9_+/-]"
_END: Final = rb"(?:(?!" + _WORD + rb"|=)|(?=[qr]))"
"""Where a token ends; in a pickle the opcode that notes it in the memo may follow as a letter."""
_ASSIGNED: Final = rb"[\"' \t]{0,3}(?:=>|[:=])[\"' \t]{0,3}"


def _named(name: bytes, expression: bytes) -> bytes:
    """A token with no form of its own, after the name of what it is."""
    return rb"(?i:" + name + rb")" + _ASSIGNED + rb"(?:" + expression + rb")" + _END


_WORDS: Final = (
    ("AWS access key", rb"(?:AKIA|ASIA)", rb"[A-Z2-7]{16}"),
    ("Google key", rb"AIza", rb"[A-Za-z0-9_-]{35}"),
    ("Google client secret", rb"GOCSPX-", rb"[A-Za-z0-9_-]{28}"),
    ("Google access token", rb"ya29\.", rb"[A-Za-z0-9_-]{30,}"),
    ("GitHub token", rb"gh[pousr]_", rb"[A-Za-z0-9]{36}"),
    ("GitHub token", rb"github_pat_", rb"[A-Za-z0-9_]{60,}"),
    ("GitLab token", rb"gl(?:pat|dt|rt|cbt|ptt)-", rb"[A-Za-z0-9_-]{20,}"),
    ("Hugging Face token", rb"(?:hf|api_org)_", rb"[A-Za-z0-9]{34,40}"),
    ("Anthropic key", rb"sk-ant-", rb"[a-z]{3,8}[0-9]{2}-[A-Za-z0-9_-]{80,}"),
    ("OpenRouter key", rb"sk-or-v1-", rb"[0-9a-f]{64}"),
    ("OpenAI key", rb"sk-", rb"(?:[A-Za-z0-9_-]{20,}T3BlbkFJ[A-Za-z0-9_-]{20,}|(?:proj-)?[A-Za-z0-9]{40,})"),
    ("Replicate token", rb"r8_", rb"[A-Za-z0-9]{37}"),
    ("Groq key", rb"gsk_", rb"[A-Za-z0-9]{52}"),
    ("xAI key", rb"xai-", rb"[A-Za-z0-9]{80}"),
    ("Pinecone key", rb"pcsk_", rb"[A-Za-z0-9_]{60,80}"),
    ("Databricks token", rb"dapi", rb"[0-9a-f]{32}(?:-[0-9])?"),
    ("Slack token", rb"xox[abeprs]-", rb"[0-9]{8,}-[A-Za-z0-9-]{10,}"),
    ("Stripe key", rb"[sr]k_live_", rb"[A-Za-z0-9]{20,}"),
    ("Twilio key", rb"SK[0-9a-f]", rb"[0-9a-f]{31}"),
    ("SendGrid key", rb"SG\.", rb"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("Mailgun key", rb"key-[0-9a-f]", rb"[0-9a-f]{31}"),
    ("npm token", rb"npm_", rb"[A-Za-z0-9]{36}"),
    ("PyPI token", rb"pypi-AgE", rb"[A-Za-z0-9_-]{50,}"),
    ("Docker token", rb"dckr_pat_", rb"[A-Za-z0-9_-]{27}"),
    ("DigitalOcean token", rb"do[opr]_v1_", rb"[0-9a-f]{64}"),
    ("Vault token", rb"hv[sb]\.", rb"[A-Za-z0-9_-]{24,}"),
    ("JSON web token", rb"eyJ", rb"[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
    # The first bytes of PKCS #8, PKCS #1, SEC 1 and OpenSSH keys in base64, as they stand without their frame.
    ("private key", rb"MII[A-Za-z0-9+/]{3}IBADANBgkqhkiG9w0BAQEF", rb"[A-Za-z0-9+/]{10,}"),
    ("private key", rb"MII[A-Za-z0-9+/]{3}IBAAKC", rb"[A-Za-z0-9+/]{20,}"),
    ("private key", rb"(?:MHcCAQEEI|MC4CAQAwBQYDK2VwBCIE|b3BlbnNzaC1rZXktdjEA)", rb"[A-Za-z0-9+/]{20,}"),
)
"""Kinds that are one word: name, how it begins, and the rest."""

ELSEWHERE: Final = (
    (
        "AWS secret key",
        (b"ecret", b"ECRET"),
        _named(rb"aws_?secret_?(?:access_?)?key|secretaccesskey", rb"[A-Za-z0-9/+]{40}"),
    ),
    (
        "Azure storage key",
        (b"AccountKey", b"account_key"),
        rb"[Aa]ccount_?[Kk]ey[\"' ]{0,2}[:=][\"' ]{0,2}[A-Za-z0-9+/]{86}==",
    ),
    ("Azure shared access key", (b"SharedAccessKey=",), rb"SharedAccessKey=[A-Za-z0-9+/]{43}="),
    ("Azure shared access signature", (b"sig=",), rb"[?&]sig=[A-Za-z0-9+/%]{43,80}(?:%3[Dd]|=)"),
    ("Azure client secret", (b"Q~",), rb"[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}" + _END),
    ("Google service account key", (b"private_key_id",), _named(rb"private_key_id", rb"[0-9a-f]{40}")),
    ("Cohere key", (b"ohere", b"OHERE"), _named(rb"cohere_?(?:api_?)?(?:key|token)", rb"[A-Za-z0-9]{40}")),
    ("Mistral key", (b"istral", b"ISTRAL"), _named(rb"mistral_?(?:api_?)?key", rb"[A-Za-z0-9]{32}")),
    ("Weights & Biases key", (b"andb", b"ANDB"), _named(rb"wandb_?(?:api_?)?key", rb"[0-9a-f]{40}")),
    ("Slack webhook", (b"hooks.slack",), rb"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}"),
    ("Telegram token", (b":AA",), rb"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{33}" + _END),
    ("Terraform token", (b".atlasv1.",), rb"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"),
    (
        "password in an address",
        (b"://",),
        rb"(?<![A-Za-z0-9+.-])[a-z][a-z0-9+]{2,20}://[^\s/:@\"'<>{}$]{1,60}:[^\s/:@\"'<>{}$]{3,120}@[A-Za-z0-9\[]",
    ),
    ("private key", (b"PRIVATE KEY",), rb"-----BEGIN (?:[A-Z0-9]{1,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:\\[rn]|\s)"),
    ("private key", (b"PuTTY-User-Key",), rb"PuTTY-User-Key-File-[23]: "),
)
"""Kinds that are found by a literal in or before them: name, literals, and what must stand around one of them."""

_FIRST: Final = rb"[AGMSabdeghknprsxy][A-Za-z0-9][A-Za-z0-9._-]"
"""How any of the words begins: tried first, because it is told by three characters."""
_BEGINS: Final = rb"(?=" + _FIRST + rb")(?=" + b"|".join(prefix for _, prefix, _ in _WORDS) + rb")"
STARTS: Final = re.compile(rb"(?:^|[^A-Za-z0-9_+/-])" + _WORD + rb"?" + _BEGINS)
"""Where a word may begin: behind what is no letter, or one further, for a length may stand before it."""
STARTS_IN_BINARY: Final = re.compile(rb"(?:^|[^A-Za-z0-9_+/-])" + _WORD + rb"{0,3}?" + _BEGINS)
"""As above, among numbers: tag and length of a field, the kind of a value, may be letters."""
_END_IN_BINARY: Final = rb"(?:(?!" + _WORD + rb"|=)|(?=" + _WORD + rb"{1,3}(?!" + _WORD + rb"|=)))"
"""As `_END`, where the next field or opcode may begin with letters."""


def _words(end: bytes) -> bytes:
    return b"|".join(b"(%s%s%s)" % (prefix, rest, end) for _, prefix, rest in _WORDS)


WORDS: Final = _words(_END)
"""A whole word; the number of the group that matched, less one, is the place in `NAMES`."""
WORDS_IN_BINARY: Final = _words(_END_IN_BINARY)
NAMES: Final = tuple(name for name, _, _ in _WORDS)
PLACEHOLDER: Final = re.compile(
    rb"EXAMPLE|[xX]{6,}|\*{3,}|:(?:password|passwd|pass|pwd|secret|token|changeme|\.\.\.)@", re.IGNORECASE
)
"""What stands in documentation in the place of a credential."""
