"""A certificate for this machine, for tests of TLS."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path


def certificate_for_this_machine(directory: Path) -> Path:
    """Write a certificate for 127.0.0.1, which is its own authority, and its key beside it (``.key``)."""
    return _made(directory / "certificate.pem", "authority", None)


def certificate_of(name: str, authority: Path) -> Path:
    """Write a client's certificate, which an authority has signed, beside that; and its key beside it."""
    return _made(authority.with_name(f"{name}.pem"), name, authority)


def _made(path: Path, common_name: str, authority: Path | None) -> Path:
    from cryptography import x509  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = signing = ec.generate_private_key(ec.SECP256R1())
    name = issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority.read_bytes()).subject
        loaded = serialization.load_pem_private_key(
            authority.with_suffix(".key").read_bytes(), None
        )
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signing = loaded
    now = datetime.datetime.fromtimestamp(0, datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(1 if authority is None else 2)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=365 * 200))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
