"""Profiles: where the platform is, and who asks; what is not right is one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from vallum_client.profile import SERVICES, load_profile
from vallum_common.errors import Invalid

from .conftest import write_profile

ADDRESSES = {name: f"127.0.0.1:{7401 + place}" for place, name in enumerate(SERVICES)}


def refusal(path: Path) -> str:
    with pytest.raises(Invalid) as refused:
        load_profile(path)
    assert "\n" not in refused.value.message
    assert str(path) in refused.value.message
    return refused.value.message


def test_files_are_found_beside_the_profile(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "ca.pem").write_text("a certificate")
    path = write_profile(tmp_path / "p", {**ADDRESSES, "kafka": "127.0.0.1:7492"}, ca_file="ca.pem")
    profile = load_profile(path)
    assert (profile.addresses, profile.kafka) == (ADDRESSES, "127.0.0.1:7492")
    assert profile.token_file == tmp_path / "p" / "client.token"
    assert profile.ca_file == tmp_path / "p" / "ca.pem"


def test_kafka_and_tls_are_not_needed(tmp_path: Path) -> None:
    profile = load_profile(write_profile(tmp_path, ADDRESSES))
    assert (profile.kafka, profile.ca_file) == ("", None)


def test_profile_of_the_present_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profile(tmp_path / ".vallum", ADDRESSES)
    monkeypatch.chdir(tmp_path)
    assert load_profile(None).addresses == ADDRESSES


def test_absent_profile_tells_how_to_get_one(tmp_path: Path) -> None:
    told = refusal(tmp_path / "client.toml")
    assert "`vallum up`" in told
    assert "--profile FILE or VALLUM_PROFILE" in told


@pytest.mark.parametrize("missing", SERVICES)
def test_missing_address_is_named(tmp_path: Path, missing: str) -> None:
    addresses = {name: address for name, address in ADDRESSES.items() if name != missing}
    assert f"lacks the address of {missing!r} under [services]" in refusal(write_profile(tmp_path, addresses))


@pytest.mark.parametrize("ca_file", ["ca.pem", "."])
def test_missing_ca_never_means_a_plain_connection(tmp_path: Path, ca_file: str) -> None:
    """The token would travel for all to read."""
    assert f"ca_file {ca_file!r}" in refusal(write_profile(tmp_path, ADDRESSES, ca_file=ca_file))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[services", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"", "lacks the section [services]"),
        (b"services = 3\n[identity]", "lacks the section [services]"),
        (b"[services]\nregistry = 7401\n[identity]", "lacks the address of 'registry'"),
    ],
)
def test_what_is_no_profile_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "client.toml"
    path.write_bytes(content)
    assert said in refusal(path)


def test_profile_without_a_token_is_told(tmp_path: Path) -> None:
    path = write_profile(tmp_path, ADDRESSES)
    path.write_text(path.read_text().replace("token_file", "tokenfile"))
    assert "lacks token_file under [identity]" in refusal(path)
