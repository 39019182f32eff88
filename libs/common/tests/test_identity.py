"""Who may call: tokens and rules. Each refusal is one an attacker has tried on somebody."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.protobuf import descriptor_pool

from vallum_common.bus.topics import all_topics
from vallum_common.errors import Denied, Invalid, Unavailable
from vallum_common.rpc.identity import AccessRules, Caller, TokenVerifier
from vallum_common.rpc.status import Unauthenticated
from vallum_common.testing import FakeClock

OURS = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FOREIGN = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
ELLIPTIC = ec.derive_private_key(12345, ec.SECP256R1())


def jwk(key: Any, kid: str, algorithm: str) -> dict[str, str]:
    shape = {"EdDSA": jwt.algorithms.OKPAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}[algorithm]
    return {**json.loads(shape.to_jwk(key.public_key())), "kid": kid, "alg": algorithm, "use": "sig"}


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(OURS, "ours", "EdDSA"), jwk(ELLIPTIC, "curve", "ES256")]}))
    return path


def token(clock: FakeClock, *, key: Any = OURS, algorithm: str = "EdDSA", kid: str = "ours", **change: Any) -> str:
    now = clock.now().timestamp()
    claims = {"sub": "ci", "aud": "vallum", "iss": "test", "roles": ["platform"], "nbf": now, "exp": now + 60, **change}
    return jwt.encode(
        {k: v for k, v in claims.items() if v is not None}, key, algorithm=algorithm, headers={"kid": kid}
    )


async def test_a_good_token_names_its_caller(jwks: Path) -> None:
    clock = FakeClock()
    verifier = TokenVerifier(str(jwks), clock=clock, issuer="test")
    assert await verifier.verify(token(clock)) == Caller("ci", frozenset({"platform"}))
    curve = token(clock, key=ELLIPTIC, algorithm="ES256", kid="curve")
    assert (await verifier.verify(curve)).subject == "ci"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": FOREIGN}, "[Ss]ignature"),
        ({"kid": "unknown"}, "no key 'unknown'"),
        ({"kid": "curve"}, "not valid"),
        ({"aud": "other"}, "[Aa]udience"),
        ({"aud": None}, "aud"),
        ({"iss": "somebody"}, "[Ii]ssuer"),
        ({"exp": None}, "exp"),
        ({"exp": 0}, "expired"),
        ({"exp": "never"}, "[Nn]umber|integer|times"),
        ({"nbf": 4102444800}, "not valid yet"),
        ({"sub": None}, "sub"),
        ({"roles": "operator"}, "not a list"),
    ],
)
async def test_a_wrong_token_is_refused(jwks: Path, change: dict[str, Any], said: str) -> None:
    clock = FakeClock()
    with pytest.raises(Unauthenticated, match=said):
        await TokenVerifier(str(jwks), clock=clock, issuer="test").verify(token(clock, **change))


async def test_a_token_expires_with_the_clock(jwks: Path) -> None:
    clock = FakeClock()
    verifier, issued = TokenVerifier(str(jwks), clock=clock), token(clock)
    clock.advance(89)
    assert await verifier.verify(issued)
    clock.advance(2)
    with pytest.raises(Unauthenticated, match="expired"):
        await verifier.verify(issued)


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join(parts)


async def test_algorithm_none_is_refused(jwks: Path) -> None:
    claims = {"sub": "eve", "aud": "vallum", "roles": ["operator"], "exp": 4102444800}
    forged = unsigned({"alg": "none", "kid": "ours"}, claims) + "."
    with pytest.raises(Unauthenticated, match="'none'"):
        await TokenVerifier(str(jwks), clock=FakeClock()).verify(forged)


async def test_the_public_key_is_no_symmetric_secret(jwks: Path) -> None:
    """RFC 8725, section 2.1: a verifier that trusts the header takes the public key for an HMAC secret."""
    claims = {"sub": "eve", "aud": "vallum", "roles": ["operator"], "exp": 4102444800}
    body = unsigned({"alg": "HS256", "kid": "ours"}, claims)
    mac = hmac.new(OURS.public_key().public_bytes_raw(), body.encode(), hashlib.sha256).digest()
    forged = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    with pytest.raises(Unauthenticated, match="HS256"):
        await TokenVerifier(str(jwks), clock=FakeClock()).verify(forged)


@pytest.mark.parametrize("garbage", ["", "x", "a.b.c", "....", "\x00" * 100, "é.é.é"])
async def test_garbage_is_nobody(jwks: Path, garbage: str) -> None:
    with pytest.raises(Unauthenticated):
        await TokenVerifier(str(jwks), clock=FakeClock()).verify(garbage)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "x"}]}',
        '{"keys": 3}',
    ],
)
def test_a_jwks_that_is_not_right_stops_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises(Invalid, match="JWKS"):
        TokenVerifier(str(path), clock=FakeClock())


@dataclass
class Issuer:
    """An identity provider on loopback that counts who asks for its keys."""

    url: str = ""
    asked: int = 0
    status: int = 200
    keys: list[dict[str, str]] = field(default_factory=lambda: [jwk(OURS, "ours", "EdDSA")])


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked += 1
            self.send_response(found.status)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": found.keys}).encode())

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    found.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


async def test_keys_of_an_issuer_are_fetched_once_and_again_when_they_are_old(issuer: Issuer) -> None:
    clock = FakeClock()
    verifier = TokenVerifier(issuer.url, clock=clock)
    for _ in range(3):
        assert (await verifier.verify(token(clock))).subject == "ci"
    assert issuer.asked == 1
    clock.advance(301)
    issuer.keys = [jwk(FOREIGN, "theirs", "EdDSA")]
    with pytest.raises(Unauthenticated, match="no key 'ours'"):
        await verifier.verify(token(clock))
    assert issuer.asked == 2


async def test_unknown_keys_make_nobody_ask_the_issuer_more_than_every_30_s(issuer: Issuer) -> None:
    """Anybody can name a key id: before a signature is verified, the caller is nobody."""
    clock = FakeClock()
    verifier = TokenVerifier(issuer.url, clock=clock)
    for number in range(10):
        with pytest.raises(Unauthenticated, match="no key"):
            await verifier.verify(token(clock, kid=f"made-up-{number}"))
    assert issuer.asked == 1
    clock.advance(30)
    issuer.keys.append(jwk(FOREIGN, "new", "EdDSA"))
    assert await verifier.verify(token(clock, key=FOREIGN, kid="new"))
    assert issuer.asked == 2


async def test_an_issuer_that_fails_is_unavailable_and_not_asked_by_every_call(issuer: Issuer) -> None:
    clock = FakeClock()
    verifier = TokenVerifier(issuer.url, clock=clock)
    issuer.status = 503
    for _ in range(5):
        with pytest.raises(Unavailable, match="503"):
            await verifier.verify(token(clock))
    assert issuer.asked == 1
    clock.advance(30)
    issuer.status = 200
    assert await verifier.verify(token(clock))


async def test_known_keys_survive_a_short_absence_of_the_issuer(issuer: Issuer) -> None:
    clock = FakeClock()
    verifier = TokenVerifier(issuer.url, clock=clock)
    assert await verifier.verify(token(clock))
    issuer.status = 503
    clock.advance(60)
    with pytest.raises(Unauthenticated, match="no key"):
        await verifier.verify(token(clock, kid="unknown"))
    assert await verifier.verify(token(clock))
    clock.advance(300)
    with pytest.raises(Unavailable, match="503"):
        await verifier.verify(token(clock))


async def test_an_issuer_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be fetched"):
        await TokenVerifier("http://127.0.0.1:1/jwks.json", clock=FakeClock()).verify(token(FakeClock()))


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/jwks.json",
        "http://10.0.0.1/jwks.json",
        "http://127.0.0.1.example/jwks.json",
        "http://localhost@issuer.example/jwks.json",
        "http:///jwks.json",
    ],
)
def test_keys_are_not_fetched_in_the_clear_from_elsewhere(url: str) -> None:
    with pytest.raises(Invalid, match="https"):
        TokenVerifier(url, clock=FakeClock())


@pytest.mark.parametrize(
    "url", ["https://issuer.example/k", "http://localhost:8080/k", "http://127.0.0.2/k", "http://[::1]:8080/k"]
)
def test_keys_may_come_from_https_or_this_machine(url: str) -> None:
    assert TokenVerifier(url, clock=FakeClock())


def methods() -> list[str]:
    files = {topic.message_type.DESCRIPTOR.file.name for topic in all_topics()}
    folders = {name.rsplit("/", 1)[0] for name in files}
    found = []
    for folder in sorted(folders):
        service = folder.split("/")[1]
        descriptor = descriptor_pool.Default().FindFileByName(f"{folder}/{service}_service.proto")
        for entry in descriptor.services_by_name.values():
            found += [f"/{entry.full_name}/{method.name}" for method in entry.methods]
    return found


@pytest.mark.parametrize("method", methods())
def test_every_rpc_carries_its_rule(method: str) -> None:
    assert AccessRules().roles_for(method), f"{method} has no option (vallum.options.v1.access)"


def test_a_method_without_a_rule_is_refused_to_everybody() -> None:
    everything = Caller("root", frozenset({"operator", "platform", "soc", "auditor", "risk-officer"}))
    with pytest.raises(Denied, match="may not call Unknown"):
        AccessRules().check("/vallum.registry.v1.RegistryService/Unknown", everything)


def test_an_auditor_changes_nothing() -> None:
    """The role reads everything; only these RPCs change something."""
    changing = {"SubmitModel", "ResumeUpload", "Deploy", "Rollback", "Quarantine", "Release", "ReportInference", "Scan"}
    for method in methods():
        if method.rsplit("/", 1)[1] in changing:
            assert "auditor" not in AccessRules().roles_for(method), method


def test_clock_is_utc() -> None:
    assert FakeClock().now().tzinfo is dt.UTC
