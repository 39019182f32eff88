"""Who calls: bearer tokens, verified offline against a JWKS, and the rule of each RPC.

Only EdDSA and ES256 are accepted: never `none`, never a symmetric algorithm, whatever the token's header says
(RFC 8725, sections 3.1 and 3.2).
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from google.protobuf import descriptor_pool

from vallum.options.v1 import options_pb2
from vallum_common.clock import Clock
from vallum_common.errors import Denied, Invalid
from vallum_common.rpc.status import Unauthenticated

ALGORITHMS: Final = ("EdDSA", "ES256")
AUDIENCE: Final = "vallum"
_LEEWAY_S: Final = 30
"""Clocks of two machines may differ by so much."""


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
    """

    def __init__(self, jwks: str, *, clock: Clock, issuer: str = "") -> None:
        self._source = jwks
        self._clock = clock
        self._issuer = issuer
        self._remote = jwt.PyJWKClient(jwks, lifespan=300) if jwks.startswith(("http://", "https://")) else None
        self._keys = {} if self._remote else _load_keys(Path(jwks))

    async def verify(self, token: str) -> Caller:
        """Who the token says the caller is.

        Raises:
            Unauthenticated: the signature, algorithm, audience, issuer or time is wrong; the line says which.
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
        if self._remote:
            return await asyncio.to_thread(self._remote.get_signing_key_from_jwt, token)
        try:
            return self._keys[str(header.get("kid"))]
        except KeyError:
            raise jwt.InvalidKeyError(f"no key {header.get('kid')!r} in the JWKS") from None

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
