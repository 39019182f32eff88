"""Who calls: bearer tokens, verified offline against a JWKS, and the rule of each RPC.

Only EdDSA and ES256 are accepted: never `none`, never a symmetric algorithm, whatever the token's header says
(RFC 8725, sections 3.1 and 3.2).
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
from google.protobuf import descriptor_pool

from vallum.options.v1 import options_pb2
from vallum_common.clock import Clock
from vallum_common.errors import Denied, Invalid, Unavailable
from vallum_common.rpc.status import Unauthenticated

ALGORITHMS: Final = ("EdDSA", "ES256")
AUDIENCE: Final = "vallum"
_LEEWAY_S: Final = 30
"""Clocks of two machines may differ by so much."""
_KEYS_LAST: Final = dt.timedelta(seconds=300)
"""A key the issuer has withdrawn is believed for so long."""
_ASK_EVERY: Final = dt.timedelta(seconds=30)
"""The issuer is asked no more often: unknown key ids come from anybody, before they have proved who they are."""
_ASK_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Args:
        subject: the token's `sub`; written into histories.
        roles: what the token says the caller is, e.g. `platform`.
    """

    subject: str
    roles: frozenset[str]


_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


def current_caller() -> Caller:
    """Who called the RPC that is being answered.

    Raises:
        Unauthenticated: nobody did; only a missing interceptor can cause it.
    """
    try:
        return _caller.get()
    except LookupError:
        raise Unauthenticated("this call carries no identity") from None


def set_caller(caller: Caller) -> None:
    """Bind the caller to the present task; the interceptor and tests do."""
    _caller.set(caller)


class TokenVerifier:
    """Verifies bearer tokens.

    Args:
        jwks: a file path, or an `https://` (on loopback `http://`) URL, of the issuer's public keys.
        clock: decides expiry.
        issuer: required `iss`; empty accepts any issuer whose key is in the JWKS.

    Raises:
        Invalid: the file is not a JWKS, or the URL is `http://` and not on loopback.
    """

    def __init__(self, jwks: str, *, clock: Clock, issuer: str = "") -> None:
        self._clock = clock
        self._issuer = issuer
        self._remote = _RemoteKeys(jwks, clock) if jwks.startswith(("http://", "https://")) else None
        self._keys = {} if self._remote else _load_keys(Path(jwks))

    async def verify(self, token: str) -> Caller:
        """Who the token says the caller is.

        Raises:
            Unauthenticated: the signature, algorithm, audience, issuer or time is wrong; the line says which.
            Unavailable: the issuer's keys cannot be fetched.
        """
        try:
            key = await self._key_of(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=AUDIENCE,
                issuer=self._issuer or None,
                # PyJWT has no clock to inject: time is checked below.
                options={"require": ["exp", "sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the bearer token is not valid: {error}") from error
        self._check_time(claims)
        roles = claims.get("roles", [])
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise Unauthenticated("the bearer token's claim 'roles' is not a list of names")
        return Caller(subject=str(claims["sub"]), roles=frozenset(roles))

    async def _key_of(self, token: str) -> jwt.PyJWK:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError(f"algorithm {header.get('alg')!r} is not one of {list(ALGORITHMS)}")
        kid = str(header.get("kid"))
        keys = await self._remote.holding(kid) if self._remote else self._keys
        try:
            return keys[kid]
        except KeyError:
            raise jwt.InvalidKeyError(f"no key {kid!r} in the JWKS") from None

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now().timestamp()
        try:
            expires, begins = float(claims["exp"]), float(claims.get("nbf", 0))
        except (TypeError, ValueError):
            raise Unauthenticated("the bearer token's times are not numbers") from None
        if not now < expires + _LEEWAY_S:
            raise Unauthenticated("the bearer token has expired; get a new one")
        if not begins - _LEEWAY_S <= now:
            raise Unauthenticated("the bearer token is not valid yet; check the clocks")


class _RemoteKeys:
    """The public keys at a URL, fetched when they are old or a key is missing, and never more often than allowed."""

    def __init__(self, url: str, clock: Clock) -> None:
        _check_url(url)
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=_ASK_TIMEOUT_S)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at: dt.datetime | None = None
        self._fetched_at: dt.datetime | None = None
        self._problem = ""

    async def holding(self, kid: str) -> dict[str, jwt.PyJWK]:
        """All keys by id, fetched again if need be so that `kid` is among them.

        Raises:
            Unavailable: there are none that are new enough.
        """
        if kid not in self._keys or not self._fresh():
            async with self._lock:
                if self._asked_at is None or self._clock.now() - self._asked_at >= _ASK_EVERY:
                    self._asked_at = self._clock.now()
                    await self._fetch()
        if not self._fresh():
            raise Unavailable(f"the keys of the tokens' issuer cannot be fetched: {self._problem}")
        return self._keys

    def _fresh(self) -> bool:
        return self._fetched_at is not None and self._clock.now() - self._fetched_at < _KEYS_LAST

    async def _fetch(self) -> None:
        try:
            keys = await asyncio.to_thread(self._client.get_signing_keys)
        except (jwt.PyJWTError, ValueError) as error:  # no answer, no JWKS, no JSON
            self._problem = str(error)
            return
        self._keys = {str(key.key_id): key for key in keys}
        self._fetched_at = self._clock.now()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        on_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        on_loopback = False
    if parts.scheme == "http" and not on_loopback:
        raise Invalid(f"the JWKS at host {host!r} must be an https:// URL: whoever alters the answer could be anybody")


def _load_keys(path: Path) -> dict[str, jwt.PyJWK]:
    try:
        document = json.loads(path.read_bytes())
        keys = [jwt.PyJWK(entry, algorithm=entry.get("alg")) for entry in document["keys"]]
    except OSError as error:
        raise Invalid(f"the JWKS {str(path)!r} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise Invalid(f"{str(path)!r} is not a JWKS: {error}") from error
    wrong = [key.key_id for key in keys if key.algorithm_name not in ALGORITHMS or not key.key_id]
    if wrong or not keys:
        raise Invalid(f"the JWKS {str(path)!r} must hold keys with a kid and an alg of {list(ALGORITHMS)}, got {wrong}")
    return {str(key.key_id): key for key in keys}


class AccessRules:
    """The rule of every RPC, read from the contracts. A method without one is refused."""

    def roles_for(self, method: str) -> frozenset[str]:
        """Which roles may call.

        Args:
            method: as gRPC names it, e.g. `/vallum.registry.v1.RegistryService/GetModel`.

        Returns:
            Role names as tokens carry them; empty where no rule exists, and then nobody may.
        """
        name = method.removeprefix("/").replace("/", ".")
        try:
            descriptor = descriptor_pool.Default().FindMethodByName(name)
        except KeyError:
            return frozenset()
        extensions: Any = descriptor.GetOptions().Extensions  # the generated stubs do not type extensions
        access: options_pb2.Access = extensions[options_pb2.access]
        return frozenset(role_name(role) for role in access.roles)

    def check(self, method: str, caller: Caller) -> None:
        """Let pass, or not.

        Raises:
            Denied: the caller has none of the roles.
        """
        allowed = self.roles_for(method)
        if not allowed & caller.roles:
            raise Denied(
                f"{caller.subject!r} with roles {sorted(caller.roles)} may not call {method.rsplit('/', 1)[-1]}; "
                f"it needs one of {sorted(allowed)}"
            )


def role_name(role: options_pb2.Role) -> str:
    """A role as tokens carry it: `ROLE_SERVICE_VALIDATOR` is `service-validator`."""
    return options_pb2.Role.Name(role).removeprefix("ROLE_").lower().replace("_", "-")
