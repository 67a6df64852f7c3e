"""Signed messages: Celery's serializer ``auth`` (celery/security of 5.7), which `app.setup_security` makes.

A body is written by another serializer, JSON unless something else is said, and signed with a private key;
the reader verifies it with the certificate that the signer names, if that is one of its own store. The form
is the base64 of ``signer``, ``signature``, content type, content encoding and body, joined by the bytes 0 and
1; signer and signature are base64 themselves. The signer is its certificate's issuer and serial number, the
signature RSA-PSS with the longest salt.

Only the body is signed: not the content type, hence the reader takes no other serializers than it was told;
and not the headers, which name the task.
"""

from __future__ import annotations

import base64
import binascii
import glob
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from umbel import serialization
from umbel.exceptions import (
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SecurityError,
    SerializerNotInstalled,
)
from umbel.limits import Limits
from umbel.serialization import SIGNED, Serializer

_SEPARATOR = b"\x00\x01"


@dataclass(frozen=True, slots=True)
class Files:
    """Where the keys are: paths, and the password of the private key.

    `store` is a directory of the certificates to trust, or a pattern of their names.
    """

    key: str
    certificate: str
    store: str
    password: str | bytes | None = None


def setup(
    files: Files,
    digest: str = "sha256",
    serializer: str = "json",
    allowed: Collection[str] = (),
    now: Callable[[], float] = lambda: 0.0,
) -> None:
    """Make ``auth`` sign and verify with these keys, in this process.

    Bodies are written by `serializer`, and those of it and of the `allowed` ones are read. `now` returns
    the time in seconds since the epoch. Raises ImproperlyConfigured for files that cannot be read, and
    SecurityError for what is in them and cannot be used.
    """
    key = _key(files)
    certificate = _certificate(files.certificate)
    if certificate.public_key.public_numbers() != key.public_key().public_numbers():
        raise SecurityError(
            f"The certificate {files.certificate} does not belong to the key {files.key}."
        )
    if certificate.expires <= now():
        raise SecurityError(
            f"The certificate {files.certificate} has expired: nobody would read what it signs."
        )
    signing = _Signing(
        key,
        certificate.id,
        _stored(files.store),
        _digest(digest),
        serialization.serializer(serializer),
        serialization.content_types((serializer, *allowed)),
        now,
    )
    serialization.add(
        Serializer(SIGNED.name, SIGNED.content_type, "utf-8", signing.dumps, signing.read)
    )


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate; `id` names it in messages, `expires` is in seconds since the epoch."""

    id: str
    public_key: Any
    expires: float


@dataclass(frozen=True, slots=True)
class _Signing:
    """Writes and reads signed bodies."""

    key: Any
    signer: str
    store: Mapping[str, Certificate]
    digest: Any
    serializer: Serializer
    accept: frozenset[str]
    now: Callable[[], float]

    def dumps(self, value: Any) -> bytes:
        """Write and sign a value."""
        body = self.serializer.dumps(value)
        try:
            signature = self.key.sign(body, _padding(self.digest), self.digest)
        except ValueError as error:  # a key that is too short for the digest
            raise EncodeError(f"The body cannot be signed: {error}") from error
        fields = (
            base64.b64encode(self.signer.encode()),
            base64.b64encode(signature),
            self.serializer.content_type.encode(),
            self.serializer.content_encoding.encode(),
            body,
        )
        return base64.b64encode(_SEPARATOR.join(fields))

    def read(self, data: bytes, limits: Limits) -> Any:
        """Verify and read what `dumps` wrote.

        Raises DecodeError for what nobody of the store has signed.
        """
        try:
            fields = base64.b64decode(data, validate=True).split(_SEPARATOR, maxsplit=4)
            signer_text, signature_text, content_type, _, body = fields
            signer = base64.b64decode(signer_text, validate=True).decode()
            signature = base64.b64decode(signature_text, validate=True)
        except (ValueError, binascii.Error) as error:
            raise DecodeError("The body is not a signed one, as auth writes them.") from error
        self._verify(signer, signature, body)
        # Not signed, so whoever can write to the broker may have changed it.
        return serialization.decode(
            body, content_type.decode("utf-8", "replace"), self.accept, limits
        )

    def _verify(self, signer: str, signature: bytes, body: bytes) -> None:
        certificate = self.store.get(signer)
        if certificate is None:
            raise DecodeError(
                f"The body is signed with the certificate {signer[:200]!r}, which is not in"
                " security_cert_store."
            )
        if certificate.expires <= self.now():
            raise DecodeError(f"The body is signed with the expired certificate {signer!r}.")
        try:
            certificate.public_key.verify(signature, body, _padding(self.digest), self.digest)
        except Exception as error:
            raise DecodeError(
                f"The body was not signed with the key of the certificate {signer!r}, or not with this"
                " security_digest, or it was changed since."
            ) from error


# What cryptography makes of files


def _library(name: str) -> Any:
    try:
        return import_module(f"cryptography.{name}")
    except ImportError:
        raise SerializerNotInstalled(
            'The serializer auth needs a library. Install it: pip install "umbel[crypto]"'
        ) from None


def _padding(digest: Any) -> Any:
    padding = _library("hazmat.primitives.asymmetric.padding")
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)


def _digest(name: str) -> Any:
    hashes = _library("hazmat.primitives.hashes")
    found: Any = getattr(hashes, name.upper(), None)
    try:
        digest = found()
    except TypeError:  # there is none, or one that wants a size
        digest = None
    if not isinstance(digest, hashes.HashAlgorithm):
        raise ImproperlyConfigured(
            f"There is no digest {name!r} for signatures; use sha256 or sha512."
        )
    return digest


def _bytes_of(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImproperlyConfigured(
            f"The {what} {path} cannot be read: {error.strerror or error}."
        ) from error


def _key(files: Files) -> Any:
    """Return the private key. Raises SecurityError for one that is none, or not of RSA."""
    load = _library("hazmat.primitives.serialization").load_pem_private_key
    password = files.password.encode() if isinstance(files.password, str) else files.password
    try:
        key = load(_bytes_of(files.key, "private key"), password=password or None)
    except (ValueError, TypeError) as error:
        raise SecurityError(
            f"The private key {files.key} cannot be used: {error} (security_key_password is its"
            " password, where it has one)."
        ) from error
    if not isinstance(key, _library("hazmat.primitives.asymmetric.rsa").RSAPrivateKey):
        raise SecurityError(f"The private key {files.key} is not one of RSA, as auth needs.")
    return key


def _certificate(path: str) -> Certificate:
    """Return the certificate in a file. Raises SecurityError for what is none, or not of RSA."""
    try:
        found = _library("x509").load_pem_x509_certificate(_bytes_of(path, "certificate"))
    except ValueError as error:
        raise SecurityError(f"The file {path} is no certificate: {error}") from error
    public_key = found.public_key()
    if not isinstance(public_key, _library("hazmat.primitives.asymmetric.rsa").RSAPublicKey):
        raise SecurityError(f"The certificate {path} is not one of RSA, as auth needs.")
    issuer = " ".join(str(part.value) for part in found.issuer)
    return Certificate(
        f"{issuer} {found.serial_number}", public_key, found.not_valid_after_utc.timestamp()
    )


def _stored(store: str) -> Mapping[str, Certificate]:
    """Return the certificates of a store by what names them in messages."""
    found: dict[str, Certificate] = {}
    for path in _paths(store):
        certificate = _certificate(path)
        if certificate.id in found:
            raise SecurityError(
                f"The certificate {certificate.id!r} is in {store} more than once: as {path} too."
            )
        found[certificate.id] = certificate
    if not found:
        raise ImproperlyConfigured(
            f"There is no certificate in security_cert_store, {store}: nothing could be read."
        )
    return found


def _paths(store: str) -> Iterable[str]:
    return sorted(glob.glob(os.path.join(store, "*") if os.path.isdir(store) else store))
