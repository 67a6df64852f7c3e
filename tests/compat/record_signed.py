"""Record signed messages of real Celery 5.7.0, and what Celery reads of those that umbel signs.

Run by hand like ``record_golden.py``, from the root of the repository, with ``cryptography``, ``PyYAML`` and
umbel's source on the path::

    PYTHONPATH=src python -m tests.compat.record_signed

The files are written to ``golden/signed``: messages as ``record_golden.py`` describes them, and in
``read-by-celery.json`` bodies that umbel signed, with what Celery read in them. The keys in
``golden/signed/keys`` protect nothing. They are made where there are none.
"""

# Celery and kombu have no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-untyped-call"

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery.security import setup_security
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from kombu.serialization import loads

from tests.compat.record_golden import App, Recorder
from umbel import serialization as serializers
from umbel import signing

DIRECTORY = Path("tests/compat/golden/signed")
KEYS = DIRECTORY / "keys"
STORE = KEYS / "store"
PASSWORD = b"not a secret"
SETTINGS: dict[str, Any] = {
    "task_serializer": "auth",
    "accept_content": ["auth"],
    "security_key": str(KEYS / "key.pem"),
    "security_certificate": str(STORE / "certificate.pem"),
    "security_cert_store": str(STORE),
}
ARGUMENTS = (1, "größe", datetime(2049, 12, 31, 23, 59, 58, 999, UTC), b"\x00\xff", [None, True])
VALUES: list[Any] = [[[1, "größe"], {"x": None}, {"chord": None}], "text", {"\x00\x01": [1.5]}]


def make_keys() -> None:
    """Make a key and its certificate, the key again with a password, and a certificate of a stranger's."""
    STORE.mkdir(parents=True, exist_ok=True)
    if (KEYS / "key.pem").exists():
        return
    key = rsa.generate_private_key(65537, 2048)
    for name, encryption in (
        ("key.pem", serialization.NoEncryption()),
        ("locked.pem", serialization.BestAvailableEncryption(PASSWORD)),
    ):
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        (KEYS / name).write_bytes(text)
    write_certificate(STORE / "certificate.pem", key, datetime(2200, 1, 1, tzinfo=UTC))
    write_certificate(KEYS / "expired.pem", key, datetime(2020, 1, 1, tzinfo=UTC))
    stranger = rsa.generate_private_key(65537, 2048)
    write_certificate(KEYS / "stranger.pem", stranger, datetime(2200, 1, 1, tzinfo=UTC))


def write_certificate(path: Path, key: rsa.RSAPrivateKey, until: datetime) -> None:
    """Write a certificate that a key signs for itself."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Grüße GmbH"),
            x509.NameAttribute(NameOID.COMMON_NAME, "tests of umbel"),
        ]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2019, 1, 1, tzinfo=UTC))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def record_messages(r: Recorder) -> None:
    """Record calls that Celery signs."""
    for name, conf, options in (
        ("json", {}, {}),
        ("digest", {}, {"digest": "sha512"}),
        ("locked", {"security_key": str(KEYS / "locked.pem")}, {"key_password": PASSWORD}),
        ("yaml", {}, {"serializer": "yaml"}),
        ("pickle", {}, {"serializer": "pickle"}),
        ("compressed", {"task_compression": "gzip"}, {}),
    ):
        app = App(**{**SETTINGS, **conf})
        setup_security(app=app.celery, **{"digest": "sha256", **options})
        r.apply_async(name, ARGUMENTS, {"z": "ü"}, app=app)


def record_readings(r: Recorder) -> None:
    """Record what Celery reads of what umbel signs."""
    app = App(**SETTINGS)
    files = signing.Files(
        SETTINGS["security_key"], SETTINGS["security_certificate"], SETTINGS["security_cert_store"]
    )
    found = []
    for digest in ("sha256", "sha512"):
        signing.setup(files, digest)
        setup_security(app=app.celery, digest=digest)
        for value in VALUES:
            signed = serializers.serializer("auth").dumps(value)
            read = loads(signed, "application/data", "utf-8", accept=["application/data"])
            found.append({"digest": digest, "signed": signed.decode(), "value": read})
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (r.directory / "read-by-celery.json").write_text(text + "\n", encoding="utf-8")


def main() -> int:
    """Record everything."""
    make_keys()
    recorder = Recorder(DIRECTORY)
    record_messages(recorder)
    record_readings(recorder)
    print(f"{len(recorder.names)} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
