"""The messages of docs/spec/bulk.md, written from it alone. Section numbers are those of that page."""

import collections
import struct

UNIT = 512
MAGIC = b"IBLK"
HEADER = struct.Struct("<4sBBHIII")
VERSION = 1
OFFER, WHOLE, CHUNK, NEED, RESULT = 1, 2, 3, 0x81, 0x82
PIECE = 65536
NEED_MOST = 16 + (16385 + 7) // 8


class Broken(Exception):
    """The device broke the protocol."""


def require(condition, why):
    if not condition:
        raise Broken(why)


Header = collections.namedtuple("Header", "version type reserved exchange number length")
Need = collections.namedtuple("Need", "round count bytes asked")
Result = collections.namedtuple("Result", "version result session")
Page = collections.namedtuple("Page", "oldest newest interface pool")


def units(length):
    """How many units a message with a body of this length has."""
    return -(-(HEADER.size + length) // UNIT)


def message(kind, exchange, number, body, version=VERSION, length=None):
    """Sections 2 and 3.1; `length` is for those who lie about it."""
    length = len(body) if length is None else length
    data = HEADER.pack(MAGIC, version, kind, 0, exchange, number, length) + body
    return data + bytes(-len(data) % UNIT)


def header(unit):
    """The header of a unit, if it begins with the magic."""
    magic, *fields = HEADER.unpack_from(unit)
    return Header(*fields) if magic == MAGIC else None


def header_of_answer(unit, exchange):
    """Section 2: None for a unit that a host drops. With magic, type and exchange it has to be right."""
    found = header(unit)
    if found is None or found.exchange != exchange or found.type not in (NEED, RESULT):
        return None
    require(found.reserved == 0, "a reserved field of the header")
    if found.type == RESULT:
        require(found.number == 0 and found.length == 8, "number or length of a RESULT")
    else:
        require(found.version == VERSION, "version of a NEED")
        require(16 <= found.length <= NEED_MOST, "length of a NEED")
    return found


def body(data, length):
    """The body of a message that is there as a whole."""
    end = HEADER.size + length
    require(not any(data[end:]), "a byte of the filling")
    return data[HEADER.size : end]


def read_result(found, data):
    """Section 3.6."""
    result, reserved, session = struct.unpack("<HHI", body(data, found.length))
    require(reserved == 0, "a reserved field of a RESULT")
    return Result(found.version, result, session)


def read_need(found, data, lengths, asked_before):
    """Section 3.4; `lengths` of all chunks as sent, `asked_before` a set, or None before the first NEED."""
    data = body(data, found.length)
    count, asked_count, total = struct.unpack_from("<IIQ", data)
    require(count == len(lengths), "number of chunks of a NEED")
    bitmap = data[16:]
    require(len(bitmap) == (count + 7) // 8, "length of a NEED's bitmap")
    bits = int.from_bytes(bitmap, "little")
    require(bits >> count == 0, "bits behind the last chunk")
    asked = [number for number in range(count) if bits >> number & 1]
    require(len(asked) == asked_count, "number of chunks asked for")
    require(sum(lengths[number] for number in asked) == total, "sum of the lengths asked for")
    if asked_before is not None:
        require(asked, "a later NEED that asks for nothing")
        require(asked_before.isdisjoint(asked), "a chunk that was asked for already")
    return Need(found.number, count, total, asked)


def read_page(data):
    """Section 1.1, page 4. A longer page is taken for what it has of ours (session.md, 5)."""
    require(len(data) >= 12 and data[0] == 1 and data[1] >= 12, "page 4")
    _, _, oldest, newest, interface, _, pool = struct.unpack_from("<BBBBB3sI", data)
    return Page(oldest, newest, interface, pool)


def pieces(length):
    """Section 3.3: the lengths of the pieces of a file."""
    return [min(PIECE, length - at) for at in range(0, length, PIECE)]
