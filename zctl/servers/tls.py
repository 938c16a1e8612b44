"""The database's own certificate authority, and a certificate for each server; private keys are kept sealed."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from zctl import secrets
from zctl.config import Config
from zctl.run.render import write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, GeneralName, KeyUsage, Name

AUTHORITY_DAYS = 3650
SERVER_DAYS = 825
RENEW_DAYS = 90
CLOCK_SKEW = timedelta(days=1)


def folder(config: Config) -> Path:
    """Where certificates and sealed keys lie."""
    return config.home / "tls"


def authority_file(config: Config) -> Path:
    """The authority's certificate: what clients check servers by."""
    return folder(config) / "ca.pem"


def certificate_for(config: Config, name: str, address: str) -> tuple[str, str, str]:
    """The authority's certificate, a server's, and the server's private key, all PEM. Made or renewed where needed."""
    from cryptography import x509

    authority, authority_key = _authority(config)
    path = folder(config) / f"{name.replace(':', '_')}.pem"
    if path.exists() and path.with_suffix(".key").exists():
        have = x509.load_pem_x509_certificate(path.read_bytes())
        fresh = have.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEW_DAYS)
        if fresh and have.issuer == authority.subject and _is_for(have, address):
            return _pem(authority), path.read_text(), _open(config, path.with_suffix(".key"))
    key = _new_key()
    made = _sign(_name(address), key, authority.subject, authority_key, SERVER_DAYS, address)
    _keep(config, path, made, key)
    return _pem(authority), _pem(made), _key_pem(key)


def _authority(config: Config) -> tuple[Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = authority_file(config)
    if path.exists() and path.with_suffix(".key").exists():
        key = load_pem_private_key(_open(config, path.with_suffix(".key")).encode(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(path.read_bytes()), key
    made_key = _new_key()
    subject = _name("zctl database authority")
    made = _sign(subject, made_key, subject, made_key, AUTHORITY_DAYS)
    _keep(config, path, made, made_key)
    return made, made_key


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _sign(
    subject: Name,
    key: EllipticCurvePrivateKey,
    issuer: Name,
    issuer_key: EllipticCurvePrivateKey,
    days: int,
    address: str = "",
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    begin = datetime.now(UTC) - CLOCK_SKEW
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=not address, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(_usage(authority=not address), critical=True)
    )
    if address:
        builder = builder.add_extension(x509.SubjectAlternativeName(_alternatives(address)), critical=False)
    return builder.sign(issuer_key, SHA256())


def _usage(*, authority: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(address: str) -> list[GeneralName]:
    """The names a certificate is good for: the address as clients write it."""
    from cryptography import x509

    try:
        return [x509.IPAddress(ipaddress.ip_address(address)), x509.DNSName(address)]
    except ValueError:
        return [x509.DNSName(address)]


def _is_for(certificate: Certificate, address: str) -> bool:
    from cryptography import x509

    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(found) == _alternatives(address)


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _open(config: Config, path: Path) -> str:
    return secrets.load(config.home).open(path.read_text().strip())


def _keep(config: Config, path: Path, certificate: Certificate, key: EllipticCurvePrivateKey) -> None:
    """The key first: a certificate without its key would be taken for whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path.with_suffix(".key"), secrets.make(config.home).seal(_key_pem(key)) + "\n")
    fresh = path.with_suffix(".new")
    write_private(fresh, _pem(certificate))
    fresh.replace(path)
