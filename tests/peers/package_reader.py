#!/usr/bin/env python3
"""A reader of Inband packages, written from docs/spec/package.md and results.md alone.

    package_reader.py POLICY.json PACKAGE...    one line of JSON for each package
    package_reader.py --batch [--openssl]       many over stdin; openssl(1) has to agree on signatures
    package_reader.py --keys                    public keys over stdin

A batch is a row of: length of the policy, length of the package (32 bits each, little-endian),
policy, package. Each is answered with one line on stdout. Keys come with their length (32 bits)
and are answered with kind and id, or null.

The policy: machine, compatible (names asked for), max_length, floor, running (null, or {version,
security_version, bcd_device}), refuse_same and refuse_downgrade (true or false), expected (what was
said of the package: {not_older (true or false), length, head (its digest)}, null where nothing was),
required (kinds), keys ({pem, schemes}; without schemes a key serves every scheme of its kind),
revoked (key ids in hexadecimal), regions ({target, name, length, policy}).
The answer: verdict (`accepted` or a result's name), at (bytes read when it fell), members.

Standard library only. Section numbers are those of docs/spec/package.md.
"""

import functools
import hashlib
import json
import struct
import sys
import zlib

import openssl_check
import signatures
import zstd_frame

BLOCK = 512
KINDS = {1: "ed25519", 2: "p384", 3: "rsa", 4: "ml-dsa"}
RSA_SCHEMES = [f"rsa-{padding}-{name}" for padding in ("pss", "pkcs1")
               for name in ("sha256", "sha384", "sha512")]
SCHEMES = {1: ["ed25519"], 2: ["p384"], 3: RSA_SCHEMES, 4: ["ml-dsa"]}
SIGNATURE_LENGTHS = {1: (64,), 2: (96,), 3: (384, 512), 4: range(1, 8193)}
STR = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+:~@/")
OPENBMC_DEVELOPMENT_KEY = bytes.fromhex(
    "a48ae977cf91ad27f3a90c2550a990f9e221c083b000d6e4739a6bedd140daa6")
DOMAIN = b"inband/head/v1\0\0"


class Refused(Exception):
    """The package is refused, with this result."""

    def __init__(self, result, why):
        super().__init__(why)
        self.result = result


def require(condition, result, why):
    if not condition:
        raise Refused(result, why)


class Policy:
    """What a BMC accepts."""

    def __init__(self, text):
        value = json.loads(text)
        self.machine = value["machine"].encode()
        self.max_length, self.floor = value["max_length"], value["floor"]
        self.compatible = {name.encode() for name in value["compatible"]}
        self.running = value["running"]
        self.refuse_same, self.refuse_downgrade = value["refuse_same"], value["refuse_downgrade"]
        self.expected = value["expected"]
        self.required = value["required"]
        self.revoked = {bytes.fromhex(line) for line in value["revoked"]}
        self.revoked.add(OPENBMC_DEVELOPMENT_KEY)
        self.regions = {
            (region["target"].encode(), region["name"].encode()): region
            for region in value["regions"]}
        self.keys = {}
        for entry in value["keys"]:
            key = public_key(entry["pem"])
            self.keys[key.id] = key, entry.get("schemes")


public_key = functools.lru_cache(64)(signatures.PublicKey)
policy_of = functools.lru_cache(256)(Policy)


@functools.lru_cache(4096)
def verifies(key, scheme, message, signature):
    """Mutants of one package share their signatures: each is verified once."""
    verdict = key.verifies(scheme, message, signature)
    if ask_openssl and not openssl_check.agrees(key, scheme, message, signature, verdict):
        raise RuntimeError(f"openssl(1) does not think so: {scheme} {verdict}")
    return verdict


ask_openssl = False


class Stream:
    """The bytes as they come."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            self.at = len(self.data)
            raise Refused("truncated", "ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def zeros(self, count):
        """Each is compared as it comes."""
        for _ in range(count):
            require(self.take(1) == b"\0", "bad-archive", "not zero")

    def header(self, name, size, mtime):
        require(self.take(BLOCK) == header(name, size, mtime), "bad-archive", "tar header")

    def padding(self, size):
        self.zeros(-size % BLOCK)


def header(name, size, mtime):
    """Section 2."""
    fields = b"".join((
        name.ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0",
        b"%011o\0" % size, b"%011o\0" % mtime, b" " * 8, b"0", bytes(100), b"ustar\0", b"00",
        bytes(64), b"0000000\0", b"0000000\0", bytes(167)))
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


class Fields:
    """Fields of the head or the index, one behind the other; each fault is that file's."""

    def __init__(self, data, result):
        self.data, self.at, self.result = data, 0, result

    def require(self, condition, why):
        require(condition, self.result, why)

    def bytes(self, count):
        self.require(self.at + count <= len(self.data), "cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count):
        return int.from_bytes(self.bytes(count), "little")

    def string(self, most):
        text = self.bytes(self.number(1))
        self.require(1 <= len(text) <= most and STR.issuperset(text), "str")
        return text

    def equal(self, value, why):
        self.require(self.bytes(len(value)) == value, why)


class Head:
    """Section 3."""

    def __init__(self, data):
        fields = Fields(data, "bad-head")
        fields.equal(b"INBANDFW", "magic")
        fields.equal(b"\1\0", "format version")
        fields.equal(b"\0\0", "flags")
        self.index_length = fields.number(4)
        fields.require(1 <= self.index_length <= 512 * 1024, "index length")
        self.total = fields.number(8)
        fields.require(self.total % BLOCK == 0 and self.total <= 1 << 30, "total length")
        self.mtime = fields.number(8)
        fields.require(self.mtime < 8**11, "mtime")
        self.index_digest = fields.bytes(32)
        count = fields.number(1)
        fields.require(1 <= count <= 4, "signature count")
        fields.equal(bytes(7), "reserved")
        self.signatures = [self.signature(fields) for _ in range(count)]
        kinds = [kind for kind, _, _, _ in self.signatures]
        fields.require(len(set(kinds)) == count, "a kind twice")
        fields.equal(bytes(40 * (4 - count)), "entries behind the count")
        machine = Fields(fields.bytes(49), "bad-head")
        self.machine = machine.string(48)
        machine.equal(bytes(49 - machine.at), "machine's padding")
        fields.equal(bytes(231), "reserved")

    @staticmethod
    def signature(fields):
        kind, scheme, length = fields.number(1), fields.number(1), fields.number(2)
        fields.require(kind in KINDS, "kind")
        fields.require(scheme < len(SCHEMES[kind]), "scheme")
        fields.require(length in SIGNATURE_LENGTHS[kind], "signature length")
        fields.equal(bytes(4), "reserved")
        return KINDS[kind], SCHEMES[kind][scheme], length, fields.bytes(32)


class Chunk:
    def __init__(self, fields):
        encoding, self.length = fields.number(1), fields.number(4)
        fields.require(encoding <= 1, "encoding")
        self.zstd = encoding == 1
        fields.require(1 <= self.length <= 131072, "chunk length")
        self.digest = fields.bytes(32)
        self.sent_length, self.sent_digest = self.length, self.digest
        if self.zstd:
            self.sent_length, self.sent_digest = fields.number(4), fields.bytes(32)
            fields.require(1 <= self.sent_length < self.length, "sent length")

    def content(self, sent):
        """What is stored of it."""
        require(hashlib.sha256(sent).digest() == self.sent_digest, "bad-chunk", "sent digest")
        if not self.zstd:
            return sent
        try:
            content = zstd_frame.decode(sent, self.length)
        except zstd_frame.BadFrame as why:
            raise Refused("bad-chunk", str(why)) from why
        require(hashlib.sha256(content).digest() == self.digest, "bad-chunk", "digest")
        return content


class Member:
    def __init__(self, fields, targets):
        self.name = fields.string(99)
        fields.require(not self.name.startswith(b"inband."), "a name of our own")
        parts = self.name.split(b"/")
        fields.require(not {b"", b".", b".."}.intersection(parts), "parts of a name")
        self.kind, self.target, self.length = fields.number(1), fields.number(1), fields.number(8)
        fields.require(self.kind <= 1, "kind of member")
        fields.require(self.target < len(targets), "target")
        self.place = targets[self.target], self.name
        self.chunks = [Chunk(fields) for _ in range(fields.number(4))]
        fields.require(self.length == sum(chunk.length for chunk in self.chunks), "length")
        self.archived = sum(chunk.sent_length for chunk in self.chunks)
        self.archive_name = self.name
        if any(chunk.zstd for chunk in self.chunks):
            self.archive_name = b"inband.chunks/" + self.name
            fields.require(len(self.name) <= 85, "name of a member with zstd chunks")


class Index:
    """Section 5."""

    def __init__(self, data, head):
        fields = Fields(data, "bad-index")
        fields.equal(b"INBANDIX", "magic")
        fields.equal(b"\1\0", "format version")
        fields.equal(b"\0\0", "flags")
        fields.require(fields.string(48) == head.machine, "machine")
        names = fields.number(1)
        fields.require(names <= 16, "compatible count")
        self.compatible = [fields.string(48) for _ in range(names)]
        self.version = fields.string(48)
        self.security_version = fields.number(4)
        self.bcd_device = bcd = fields.number(2)
        fields.require(all(bcd >> shift & 15 <= 9 for shift in (0, 4, 8, 12)), "bcdDevice")
        count = fields.number(1)
        fields.require(1 <= count <= 4, "target count")
        self.targets = targets = [fields.string(16) for _ in range(count)]
        fields.require(len(set(targets)) == count, "a target twice")
        count = fields.number(2)
        fields.require(1 <= count <= 64, "member count")
        self.members = [Member(fields, targets) for _ in range(count)]
        fields.require(len({member.name for member in self.members}) == count, "a name twice")
        fields.require(fields.at == len(data), "bytes behind the last member")
        sizes = [BLOCK] + [length for _, _, length, _ in head.signatures]
        sizes += [len(data)] + [member.archived for member in self.members]
        total = sum(BLOCK + size + -size % BLOCK for size in sizes) + 2 * BLOCK
        fields.require(total == head.total, "total length")


def read(stream, policy):
    """Section 6, step by step; the contents of the members."""
    head = read_head(stream, policy)
    check_head(head, policy)
    read_signatures(stream, head, policy)
    index = read_index(stream, head, policy)
    check_regions(index, policy)
    members = [read_member(stream, member, head.mtime) for member in index.members]
    stream.zeros(2 * BLOCK)
    read_suffix(stream)
    return members


def is_openbmc_header(block):
    """openbmc.md, 2 and 3: what GNU tar writes for a member of a firmware tar."""
    images = ["image-" + name for name in ("bmc", "hostfw", "kernel", "rofs", "rwfs", "u-boot")]
    files = images + ["MANIFEST", "publickey"]
    names = files + [file + ".sig" for file in files] + ["image-full.sig"]
    if block[:100].rstrip(b"\0") not in [name.encode() for name in names]:
        return False
    for start, end in ((100, 108), (108, 116), (116, 124), (124, 136), (136, 148)):
        if block[end - 1] != 0 or any(digit not in b"01234567" for digit in block[start : end - 1]):
            return False
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    if block[148:156] != b"%06o\0 " % total or block[156:157] != b"0" or any(block[157:257]):
        return False
    for start in (265, 297):
        text, _, rest = block[start : start + 32].partition(b"\0")
        if len(text) == 32 or any(rest) or any(not 0x20 <= byte < 0x7F for byte in text):
            return False
    devices = {b"ustar  \0": bytes(16), b"ustar\x0000": b"0000000\0" * 2}
    return block[329:345] == devices.get(block[257:265]) and not any(block[345:])


def read_head(stream, policy):
    first = stream.take(BLOCK)
    if first[:100] != b"inband.head".ljust(100, b"\0"):
        refuse = "unindexed" if is_openbmc_header(first) else "bad-head"
        require(False, refuse, "no package")
    fixed = header(b"inband.head", BLOCK, 0)
    same = all(first[i] == fixed[i] for i in range(BLOCK) if not 136 <= i < 156)
    require(same, "bad-archive", "first header")
    data = stream.take(BLOCK)
    digest = policy.expected["head"]
    announced = digest in (None, hashlib.sha256(data).hexdigest())
    require(announced, "unexpected-package", "digest of the head")
    head = Head(data)
    require(first == header(b"inband.head", BLOCK, head.mtime), "bad-archive", "first header")
    head.data = data
    return head


def check_head(head, policy):
    require(head.machine == policy.machine, "wrong-machine", "machine")
    announced = policy.expected["length"] in (None, head.total)
    require(announced, "unexpected-package", "total length")
    require(head.total <= policy.max_length, "too-large", "total length")
    for kind, scheme, _, key_id in head.signatures:
        require(kind in policy.required, "unknown-key", "kind not required")
        require(key_id not in policy.revoked, "unknown-key", "revoked")
        require(key_id in policy.keys, "unknown-key", "no such key")
        key, schemes = policy.keys[key_id]
        require(key.kind == kind, "unknown-key", "a key of another kind")
        require(schemes is None or scheme in schemes, "unknown-key", "scheme not allowed")
    there = {kind for kind, _, _, _ in head.signatures}
    require(there.issuperset(policy.required), "unknown-key", "a kind is missing")


def read_signatures(stream, head, policy):
    read_so_far = []
    for number, (kind, _, length, _) in enumerate(head.signatures):
        stream.header(b"inband.head." + kind.encode() + b".sig", length, head.mtime)
        read_so_far.append(stream.take(length))
        if number + 1 == len(head.signatures):
            for (_, scheme, _, key_id), signature in zip(head.signatures, read_so_far):
                key, _ = policy.keys[key_id]
                good = verifies(key, scheme, DOMAIN + head.data, signature)
                require(good, "bad-signature", scheme)
        stream.padding(length)


def read_index(stream, head, policy):
    stream.header(b"inband.index", head.index_length, head.mtime)
    data = stream.take(head.index_length)
    require(hashlib.sha256(data).digest() == head.index_digest, "bad-index", "digest")
    index = Index(data, head)
    check_versions(index, policy)
    stream.padding(len(data))
    return index


def check_versions(index, policy):
    carried = not policy.compatible or not policy.compatible.isdisjoint(index.compatible)
    require(carried, "incompatible", "compatible names")
    require(index.security_version >= policy.floor, "old-security-version", "floor")
    running = policy.running
    if running is None:
        return
    if policy.refuse_same:
        require(index.version != running["version"].encode(), "same-version", "runs already")
    if policy.refuse_downgrade or policy.expected["not_older"]:
        found = index.security_version, index.bcd_device
        newest = running["security_version"], running["bcd_device"]
        require(found >= newest, "downgrade", "older than what runs")


def check_regions(index, policy):
    for target in index.targets:
        known = any(place[0] == target for place in policy.regions)
        require(known, "unmapped-member", "no region for a target")
    images = [member for member in index.members if member.kind == 0]
    for image in images:
        require(image.place in policy.regions, "unmapped-member", "no region")
        region = policy.regions[image.place]
        require(region["policy"] != "refuse", "refused-member", "not to be updated")
        require(image.length <= region["length"], "too-large", "region")
    places = {image.place for image in images}
    for place, region in policy.regions.items():
        there = region["policy"] != "replace" or place in places
        require(there, "missing-member", "a region without image")


def read_member(stream, member, mtime):
    stream.header(member.archive_name, member.archived, mtime)
    digest = hashlib.sha256()
    for chunk in member.chunks:
        digest.update(chunk.content(stream.take(chunk.sent_length)))
    stream.padding(member.archived)
    return {
        "name": member.name.decode(), "kind": ("image", "metadata")[member.kind],
        "target": member.target, "length": member.length, "sha256": digest.hexdigest()}


def read_suffix(stream):
    """Section 7: nothing, or one suffix; the first byte that cannot belong to one is refused."""
    end, rest = stream.at, stream.data[stream.at :]
    fixed = b"\0\1UFD\x10"
    # dwCRC of DFU 1.1, appendix B: the usual CRC-32 without its last inversion.
    crc = struct.pack("<I", zlib.crc32(stream.data[: end + 12]) ^ 0xFFFFFFFF)
    for number, byte in enumerate(rest):
        stream.at += 1
        good = number < 6 or number < 16 and byte == (fixed + crc)[number - 6]
        require(good, "trailing-bytes", "no suffix" if number < 16 else "behind the suffix")
    require(len(rest) in (0, 16), "trailing-bytes", "a part of a suffix")


def judge(policy, package):
    stream = Stream(package)
    try:
        members = read(stream, policy)
        return {"verdict": "accepted", "at": stream.at, "members": members}
    except Refused as refused:
        return {"verdict": refused.result, "at": stream.at, "why": str(refused)}


def batch(source, sink):
    while lengths := source.read(8):
        policy, package = struct.unpack("<II", lengths)
        policy = policy_of(source.read(policy))
        print(json.dumps(judge(policy, source.read(package))), file=sink, flush=True)


def keys(source, sink):
    while length := source.read(4):
        pem = source.read(*struct.unpack("<I", length))
        try:
            key = signatures.PublicKey(pem.decode())
            answer = {"kind": key.kind, "id": key.id.hex()}
        except (signatures.BadKey, ValueError):
            answer = None
        print(json.dumps(answer), file=sink, flush=True)


def main(arguments):
    global ask_openssl
    if arguments[:1] == ["--batch"] and arguments[1:] in ([], ["--openssl"]):
        ask_openssl = len(arguments) == 2
        batch(sys.stdin.buffer, sys.stdout)
    elif arguments == ["--keys"]:
        keys(sys.stdin.buffer, sys.stdout)
    elif len(arguments) >= 2:
        with open(arguments[0], "rb") as file:
            policy = policy_of(file.read())
        for path in arguments[1:]:
            with open(path, "rb") as file:
                print(json.dumps(judge(policy, file.read())))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
