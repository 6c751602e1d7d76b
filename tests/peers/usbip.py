"""A USB/IP client in the standard library, after Documentation/usb/usbip_protocol.rst of Linux.

What a host's kernel does by itself for a device on a wire (SET_CONFIGURATION among it) a program does
here. The transfers of one device are under way side by side; nothing is done in a thread.
"""

import collections
import select
import socket
import struct
import time

VERSION = 0x0111
# Errors of Linux that a transfer may end with.
STALLED, UNLINKED = -32, -104


class Lost(Exception):
    """The device left, or whoever serves it did."""


class Refused(Exception):
    """The server does not hand the device out."""


class Failed(Exception):
    """A transfer failed; a control request with STALLED was refused."""

    def __init__(self, status):
        super().__init__(f"transfer failed: {status}")
        self.status = status


class TimedOut(Exception):
    """What was waited for did not come in time."""


Listed = collections.namedtuple("Listed", "busid vendor product speed interfaces")


def connect(address):
    host, _, port = address.rpartition(":")
    try:
        link = socket.create_connection((host, int(port)), timeout=5)
    except OSError as why:
        raise Lost(str(why)) from why
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def take(link, count):
    data = b""
    while len(data) < count:
        try:
            more = link.recv(count - len(data))
        except OSError as why:
            raise Lost(str(why)) from why
        if not more:
            raise Lost("the connection ended")
        data += more
    return data


def ask(link, code, body=b""):
    """One of the two requests before a connection is a device's; the status of its answer."""
    try:
        link.sendall(struct.pack(">HHI", VERSION, 0x8000 | code, 0) + body)
    except OSError as why:
        raise Lost(str(why)) from why
    version, answered, status = struct.unpack(">HHI", take(link, 8))
    if (version, answered) != (VERSION, code):
        raise Lost(f"answer {answered:04x} of version {version:04x}")
    return status


def devices(address):
    """What the server at ADDRESS:PORT has to hand out (OP_REQ_DEVLIST)."""
    with connect(address) as link:
        if ask(link, 5) != 0:
            raise Lost("no list of devices")
        found = []
        for _ in range(*struct.unpack(">I", take(link, 4))):
            record = take(link, 312)
            speed, vendor, product = struct.unpack(">IHH", record[296:304])
            interfaces = [tuple(take(link, 4)[:3]) for _ in range(record[311])]
            busid = record[256:288].rstrip(b"\0").decode()
            found.append(Listed(busid, vendor, product, speed, interfaces))
        return found


class Transfer:
    """One that was given to the device; `status` is None until it is over."""

    def __init__(self, number, endpoint, length):
        self.number, self.endpoint, self.length = number, endpoint, length
        self.given = time.monotonic()
        self.status, self.data, self.actual = None, b"", 0


class Device:
    """A device that was imported: it is ours until the connection ends."""

    def __init__(self, address, busid):
        self.link = connect(address)
        if ask(self.link, 3, busid.encode().ljust(32, b"\0")) != 0:
            self.link.close()
            raise Refused(f"{busid} is not to be had")
        bus, number = struct.unpack(">II", take(self.link, 312)[288:296])
        self.id = bus << 16 | number
        self.link.setblocking(False)
        self.unsent, self.unread = bytearray(), bytearray()
        self.last, self.under_way = 0, {}

    def close(self):
        """As if somebody pulled the cable."""
        self.link.close()

    # Transfers side by side.

    def give_out(self, endpoint, data):
        return self.submit(endpoint, 0, len(data), data)

    def give_in(self, endpoint, length):
        return self.submit(endpoint, 1, length)

    def submit(self, endpoint, into, length, data=b"", setup=bytes(8)):
        self.last += 1
        header = struct.pack(
            ">IIIIIIIIII", 1, self.last, self.id, into, endpoint & 15, 0, length, 0, 0, 0)
        self.unsent += header + setup + data
        transfer = self.under_way[self.last] = Transfer(self.last, endpoint, length)
        self.pump(0)
        return transfer

    def take_back(self, transfers, limit=5.0):
        """Takes back those that are still under way; each of them is over then, one way or the other."""
        asked = {}
        for transfer in transfers:
            if transfer.status is None:
                self.last += 1
                header = struct.pack(">IIIIII", 2, self.last, self.id, 0, 0, transfer.number)
                self.unsent += header + bytes(24)
                asked[self.last] = transfer
        self.under_way.update(asked)
        self.wait(lambda: not any(number in self.under_way for number in asked), limit)

    def wait(self, done, limit):
        """Until `done` says so; TimedOut after `limit` seconds."""
        end = time.monotonic() + limit
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                raise TimedOut()
            self.pump(left)

    def pump(self, longest):
        """Moves what can be moved, for which it waits `longest` seconds at most."""
        wanted = [self.link] if self.unsent else []
        readable, writable, _ = select.select([self.link], wanted, [], longest)
        try:
            if writable:
                del self.unsent[: self.link.send(self.unsent)]
            if readable:
                data = self.link.recv(1 << 18)
                if not data:
                    raise Lost("the connection ended")
                self.unread += data
        except BlockingIOError:
            pass
        except OSError as why:
            raise Lost(str(why)) from why
        while self.answer():
            pass

    def answer(self):
        """Takes one answer off what has been read, if it is there as a whole."""
        if len(self.unread) < 48:
            return False
        command, number = struct.unpack_from(">II", self.unread)
        status, actual = struct.unpack_from(">iI", self.unread, 20)
        transfer = self.under_way.get(number)
        if transfer is None or command not in (3, 4):
            raise Lost(f"answer {command} to {number}, which nobody asked for")
        if command == 4:
            del self.unread[:48]
            if status == UNLINKED:
                transfer.status = UNLINKED
                self.under_way.pop(transfer.number, None)
        else:
            more = actual if transfer.endpoint & 0x80 else 0
            if actual > transfer.length:
                raise Lost("more data than was asked for")
            if len(self.unread) < 48 + more:
                return False
            transfer.data = bytes(self.unread[48 : 48 + more])
            transfer.status, transfer.actual = status, actual
            del self.unread[: 48 + more]
        del self.under_way[number]
        return True

    # Control requests, one at a time.

    def control(self, kind, request, value, index, data=b"", length=0, limit=5.0):
        """A request with its data (bmRequestType bit 7 clear) or for `length` bytes; the bytes answered."""
        into = kind >> 7
        length = length if into else len(data)
        setup = struct.pack("<BBHHH", kind, request, value, index, length)
        transfer = self.submit(0x80 * into, into, length, data, setup)
        try:
            self.wait(lambda: transfer.status is not None, limit)
        except TimedOut:
            self.take_back([transfer])
            raise
        if transfer.status != 0:
            raise Failed(transfer.status)
        return transfer.data

    def descriptor(self, kind, length):
        return self.control(0x80, 6, kind << 8, 0, length=length)
