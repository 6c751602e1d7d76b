"""openssl(1) as another opinion on signatures."""

import subprocess
import tempfile
from pathlib import Path

import signatures


def der_integer(number):
    return signatures.der_wrap(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def as_openssl_has_it(kind, signature):
    """r and s of P-384 as DER (RFC 3279, 2.2.3); the others are what they are."""
    if kind != "p384":
        return signature
    r, s = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
    return signatures.der_wrap(0x30, der_integer(r) + der_integer(s))


def arguments(scheme):
    if scheme == "ed25519":
        return ["pkeyutl", "-verify", "-pubin", "-inkey", "key", "-rawin",
                "-in", "message", "-sigfile", "signature"]
    if scheme == "p384":
        options = ["-sha384"]
    else:
        _, padding, name = scheme.split("-")
        options = ["-" + name]
        if padding == "pss":
            options += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
    return ["dgst", *options, "-verify", "key", "-signature", "signature", "message"]


def verifies(key, scheme, message, signature):
    """Whether openssl(1) accepts it."""
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "key": key.pem.encode(), "message": message,
            "signature": as_openssl_has_it(key.kind, signature)}
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        done = subprocess.run(["openssl", *arguments(scheme)], cwd=folder, capture_output=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr.decode())
    return done.returncode == 0


def agrees(key, scheme, message, signature, verdict):
    """Whether openssl(1) says the same, but for the one rule that is ours: s in its lower half."""
    if key.kind == "p384" and int.from_bytes(signature[48:], "big") > signatures.P384_ORDER // 2:
        return not verdict
    return verifies(key, scheme, message, signature) == verdict
