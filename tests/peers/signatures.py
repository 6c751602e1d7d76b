"""Public keys and signatures of docs/spec/package.md, sections 4 and 8, in plain integers."""

import base64
import hashlib


class BadKey(Exception):
    """Not a public key of the form the specification allows."""


class PublicKey:
    """A key: its kind, its id (32 bytes) and what its kind needs to verify."""

    def __init__(self, pem):
        der = pem_to_der(pem)
        self.pem = pem
        self.id = hashlib.sha256(der).digest()
        for kind, read in (("ed25519", ed25519_key), ("p384", p384_key), ("rsa", rsa_key)):
            self.numbers = read(der)
            if self.numbers is not None:
                self.kind = kind
                return
        raise BadKey("no key of a known kind")

    def verifies(self, scheme, message, signature):
        if scheme == "ed25519":
            return ed25519_verifies(self.numbers, message, signature)
        if scheme == "p384":
            return p384_verifies(self.numbers, message, signature)
        _, padding, name = scheme.split("-")
        return rsa_verifies(self.numbers, padding, name, message, signature)


def pem_to_der(pem):
    lines = pem.strip().splitlines()
    if lines[0] != "-----BEGIN PUBLIC KEY-----" or lines[-1] != "-----END PUBLIC KEY-----":
        raise BadKey("not a public key in PEM")
    return base64.b64decode("".join(lines[1:-1]), validate=True)


# Ed25519: RFC 8032, 5.1; key RFC 8410.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")


def ed25519_key(der):
    if len(der) != 44 or der[:12] != ED25519_SPKI:
        return None
    point = ed_decode(der[12:])
    if point is None or ed_small(point):
        raise BadKey("not a point, or one of small order")
    return der[12:], ed_multiples(point)


def ed_decode(data):
    """The point (X, Y, Z, T) of 32 bytes, if they are the one encoding of a point."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def ed_add(a, b):
    ax, ay, az, at = a
    bx, by, bz, bt = b
    e, f = (ay - ax) * (by - bx) % P, (ay + ax) * (by + bx) % P
    c, d = 2 * at * bt * D % P, 2 * az * bz % P
    x, z, w, y = f - e, d - c, d + c, f + e
    return x * z % P, w * y % P, z * w % P, x * y % P


def ed_small(point):
    """Whether eight times the point is the neutral one."""
    for _ in range(3):
        point = ed_add(point, point)
    return point[0] == 0 and point[1] == point[2]


def ed_base():
    y = 4 * pow(5, -1, P) % P
    return ed_decode(y.to_bytes(32, "little"))


def ed25519_verifies(key, message, signature):
    """The equation without the cofactor: R is rebuilt and compared."""
    encoded, multiples = key
    if len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    nonce = ed_decode(r)
    if s >= L or nonce is None or ed_small(nonce):
        return False
    h = int.from_bytes(hashlib.sha512(r + encoded + message).digest(), "little") % L
    x, y, z, _ = ed_add(ED_BASE.times(s), multiples.times(L - h))
    return (x - nonce[0] * z) % P == 0 and (y - nonce[1] * z) % P == 0


class Multiples:
    """Multiples of a point, made once: for each four bits of a factor, all it can add."""

    def __init__(self, add, neutral, point, bits):
        self.add, self.neutral, self.rows = add, neutral, []
        for _ in range(0, bits, 4):
            row = [neutral]
            for _ in range(16):
                row.append(add(row[-1], point))
            self.rows.append(row)
            point = row[16]

    def times(self, factor):
        out = self.neutral
        for number, row in enumerate(self.rows):
            digit = factor >> 4 * number & 15
            if digit:
                out = self.add(out, row[digit])
        return out


def ed_multiples(point):
    return Multiples(ed_add, (0, 1, 1, 0), point, 256)


ED_BASE = ed_multiples(ed_base())


# ECDSA on P-384: FIPS 186-5; curve SP 800-186; key RFC 5480.

P384 = 2**384 - 2**128 - 2**96 + 2**32 - 1
P384_B = int(
    "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875a"
    "c656398d8a2ed19d2a85c8edd3ec2aef", 16)
P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
    "581a0db248b0a77aecec196accc52973", 16)
P384_GENERATOR = (
    int("aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a38"
        "5502f25dbf55296c3a545e3872760ab7", 16),
    int("3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c0"
        "0a60b1ce1d7e819d7a431d7c90ea0e5f", 16), 1)
P384_SPKI = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")


def p384_key(der):
    if len(der) != len(P384_SPKI) + 96 or not der.startswith(P384_SPKI):
        return None
    x, y = (int.from_bytes(der[at : at + 48], "big") for at in (len(der) - 96, len(der) - 48))
    if x >= P384 or y >= P384 or (y * y - x**3 + 3 * x - P384_B) % P384:
        raise BadKey("not a point of P-384")
    return p384_multiples((x, y, 1))


def p384_add(a, b):
    """Jacobian coordinates; Z = 0 is the neutral point."""
    if a[2] == 0 or b[2] == 0:
        return b if a[2] == 0 else a
    (ax, ay, az), (bx, by, bz) = a, b
    if a is b:
        return p384_double(a)
    azz, bzz = az * az % P384, bz * bz % P384
    u, v = ax * bzz % P384, bx * azz % P384
    s, t = ay * bzz * bz % P384, by * azz * az % P384
    h, r = (v - u) % P384, (t - s) % P384
    if h == 0:
        return p384_double(a) if r == 0 else (1, 1, 0)
    hh = h * h % P384
    hhh, uhh = h * hh % P384, u * hh % P384
    x = (r * r - hhh - 2 * uhh) % P384
    return x, (r * (uhh - x) - s * hhh) % P384, az * bz * h % P384


def p384_double(a):
    x, y, z = a
    if y == 0:
        return 1, 1, 0
    zz, yy = z * z % P384, y * y % P384
    s = 4 * x * yy % P384
    m = 3 * (x - zz) * (x + zz) % P384
    out = (m * m - 2 * s) % P384
    return out, (m * (s - out) - 8 * yy * yy) % P384, 2 * y * z % P384


def p384_multiples(point):
    return Multiples(p384_add, (1, 1, 0), point, 384)


P384_BASE = p384_multiples(P384_GENERATOR)


def p384_verifies(key, message, signature):
    if len(signature) != 96:
        return False
    r, s = int.from_bytes(signature[:48], "big"), int.from_bytes(signature[48:], "big")
    if not 1 <= r < P384_ORDER or not 1 <= s <= (P384_ORDER - 1) // 2:
        return False
    digest = int.from_bytes(hashlib.sha384(message).digest(), "big")
    inverse = pow(s, -1, P384_ORDER)
    a, b = digest * inverse % P384_ORDER, r * inverse % P384_ORDER
    x, _, z = p384_add(P384_BASE.times(a), key.times(b))
    if z == 0:
        return False
    return x * pow(z, -2, P384) % P384 % P384_ORDER == r


# RSA: RFC 8017; key RFC 3279.

RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")
DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def der_wrap(tag, content):
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 128 + len(size)]) + size + content


def rsa_spki(modulus):
    """The one encoding of a key with this modulus and the exponent 65,537."""
    number = b"\0" + modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
    key = der_wrap(0x30, der_wrap(2, number) + bytes.fromhex("0203010001"))
    return der_wrap(0x30, RSA_ALGORITHM + der_wrap(3, b"\0" + key))


def rsa_key(der):
    for size in (384, 512):
        # Behind the modulus stands the exponent, 5 bytes, and nothing more.
        modulus = int.from_bytes(der[-5 - size : -5], "big")
        if modulus.bit_length() == 8 * size and rsa_spki(modulus) == der:
            if modulus % 2 == 0:
                raise BadKey("an even modulus")
            return modulus
    return None


def rsa_verifies(modulus, padding, name, message, signature):
    size = modulus.bit_length() // 8
    number = int.from_bytes(signature, "big")
    if len(signature) != size or number >= modulus:
        return False
    encoded = pow(number, 65537, modulus).to_bytes(size, "big")
    digest = hashlib.new(name, message).digest()
    if padding == "pkcs1":
        tail = b"\0" + DIGEST_INFO[name] + digest
        return encoded == b"\0\x01" + b"\xff" * (size - 2 - len(tail)) + tail
    return pss_matches(encoded, name, digest)


def pss_matches(encoded, name, digest):
    """RFC 8017, 9.1.2; the modulus has 8 * len(encoded) bits, so emBits is one less."""
    length = len(digest)
    masked, tag, end = encoded[: -length - 1], encoded[-length - 1 : -1], encoded[-1]
    if end != 0xBC or masked[0] & 0x80:
        return False
    mask = b"".join(
        hashlib.new(name, tag + count.to_bytes(4, "big")).digest()
        for count in range(-(-len(masked) // length)))[: len(masked)]
    block = bytearray(a ^ b for a, b in zip(masked, mask))
    block[0] &= 0x7F
    zeros = len(block) - length - 1
    if any(block[:zeros]) or block[zeros] != 1:
        return False
    salt = bytes(block[zeros + 1 :])
    return hashlib.new(name, bytes(8) + digest + salt).digest() == tag
