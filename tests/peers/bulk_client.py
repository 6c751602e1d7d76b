#!/usr/bin/env python3
"""An Inband host over USB/IP that updates by the bulk interface, written from docs/spec/ alone.

    bulk_client.py ADDRESS:PORT PACKAGE [options]

Writes a line of JSON for each thing that happened, `event` first: `device` (what was found, with page 0),
`bulk` (the interface, page 4), `need`, `result`, `dfu` (a GETSTATUS), `end` (what was sent in all, and
why it ended). The exit code is that of results.md, 2.

Besides what a host should do it does, when asked to by --fault, what none should: so it is the hostile
or dying host of our tests too. N counts the chunks of the exchange as they are sent, from 0.

Standard library only. Section numbers are those of docs/spec/bulk.md; of other pages they come with the name.
"""

import argparse
import json
import random
import struct
import sys
import time

import bulk_messages as bulk
import package_reader
import usbip

# results.md, 1: name, bStatus, exit.
OK, FILE, VERIFY, TARGET, ADDRESS, NOTDONE, VENDOR, USBR, POR, WRITE, FIRMWARE, UNKNOWN = (
    0, 2, 7, 1, 8, 9, 11, 12, 13, 3, 10, 14)
RESULTS = {
    1: ("ok", OK, 0), 16: ("bad-archive", FILE, 6), 17: ("bad-head", FILE, 6),
    18: ("bad-index", FILE, 6), 19: ("bad-signature", VERIFY, 6), 20: ("unknown-key", VERIFY, 6),
    21: ("wrong-machine", TARGET, 6), 22: ("old-security-version", FILE, 6),
    23: ("bad-chunk", VERIFY, 6), 24: ("too-large", ADDRESS, 6), 25: ("unmapped-member", FILE, 6),
    26: ("truncated", NOTDONE, 6), 27: ("trailing-bytes", FILE, 6), 28: ("missing-member", FILE, 6),
    29: ("same-version", FILE, 6), 30: ("downgrade", FILE, 6), 31: ("incompatible", TARGET, 6),
    32: ("door-shut", VENDOR, 8), 33: ("busy", VENDOR, 9), 34: ("on-trial", VENDOR, 9),
    35: ("locked-out", VENDOR, 9), 36: ("worn", VENDOR, 9), 40: ("refused-member", FILE, 6),
    41: ("unindexed", FILE, 6), 42: ("bad-manifest", FILE, 6), 43: ("wrong-purpose", TARGET, 6),
    44: ("bad-encoding", FILE, 6), 45: ("unexpected-package", FILE, 6),
    48: ("aborted", OK, 14), 49: ("disconnected", USBR, 10),
    50: ("timeout", NOTDONE, 10), 51: ("interrupted", POR, 10), 52: ("sequence", ADDRESS, 11),
    53: ("protocol", VENDOR, 11), 54: ("no-file", FILE, 11), 55: ("incomplete", NOTDONE, 11),
    56: ("bad-volume", FILE, 11), 64: ("write-failed", WRITE, 15), 65: ("readback-mismatch", VERIFY, 15),
    66: ("store-failed", WRITE, 15), 67: ("no-space", VENDOR, 15), 80: ("rolled-back", FIRMWARE, 13),
    81: ("unhealthy", FIRMWARE, 13), 96: ("internal", UNKNOWN, 1)}
ABORTED, DISCONNECTED = 48, 49

# DFU 1.1, 3 and A.1.
DETACH, DNLOAD, _, GETSTATUS, CLRSTATUS, _, ABORT = range(7)
IDLE, SYNC, BUSY, DNLOAD_IDLE, MANIFEST_SYNC, MANIFEST, ERROR = 2, 3, 4, 5, 6, 7, 10
RUN_TIME, DFU_MODE = (0xFE, 1, 1), (0xFE, 1, 2)
BULK = (0xFF, 0x49, 1)

# 7 and 8; dfu.md, 2.
DROPPED_MOST = 64
OUT_LIMIT, NEED_LIMIT, ROUND_LIMIT, SENDING_LIMIT = 120, 120, 600, 7200
SWITCH_LIMIT, SWITCH_PAUSE = 10, 0.05
UNDER_WAY = 512 * 1024


class Ended(Exception):
    """The run is over before its end: why, and the exit code."""

    def __init__(self, why, code):
        super().__init__(why)
        self.code = code


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def tell(why):
    print(f"bulk_client.py: {why}", file=sys.stderr)


class Package:
    """What is sent of a file: package.md, 1, 3 and 5."""

    def __init__(self, data):
        self.data = data
        head = package_reader.Head(data[512:1024])
        lengths = [length for _, _, length, _ in head.signatures] + [head.index_length]
        at = 1024
        for length in lengths:
            start, at = at + 512, at + 512 + length + -length % 512
        self.offer = data[:at]
        self.index = package_reader.Index(data[start : start + head.index_length], head)
        self.version = self.index.version.decode()
        self.places, self.lengths = [], []
        for member in self.index.members:
            at += 512
            for chunk in member.chunks:
                self.places.append(at)
                self.lengths.append(chunk.sent_length)
                at += chunk.sent_length
            at += -at % 512

    def chunk(self, number):
        return self.data[self.places[number] :][: self.lengths[number]]


class Whole:
    """A file without index, or one that goes as if it had none: 3.3."""

    def __init__(self, data):
        self.data, self.offer = data, struct.pack("<Q", len(data))
        self.lengths = bulk.pieces(len(data))

    def chunk(self, number):
        return self.data[number * bulk.PIECE :][: self.lengths[number]]


class Bmc:
    """A device that is a BMC, in either of its modes, and what is asked of its DFU interface."""

    def __init__(self, address, listed):
        self.link = usbip.Device(address, listed.busid)
        self.busid = listed.busid
        device = self.link.descriptor(1, 18)
        self.vendor, self.product = struct.unpack_from("<HH", device, 8)
        length = struct.unpack_from("<H", self.link.descriptor(2, 9), 2)[0]
        self.read_configuration(self.link.descriptor(2, length))
        # A host's kernel would have done that.
        self.link.control(0x00, 9, self.configuration, 0)

    def read_configuration(self, data):
        self.configuration, self.dfu, self.detach_timeout, self.transfer_size = data[5], None, 1000, 4096
        self.bulk, interface, endpoints = None, None, []
        found = []
        while data:
            kind = data[1]
            if kind == 4:
                interface, endpoints = data[2], []
                found.append((tuple(data[5:8]), interface, endpoints))
            elif kind == 5:
                endpoints.append((data[2], data[3] & 3))
            elif kind == 0x21 and self.dfu is None:
                self.detach_timeout, self.transfer_size = struct.unpack_from("<HH", data, 3)
            data = data[data[0] or len(data) :]
        for triple, number, endpoints in found:
            if triple in (RUN_TIME, DFU_MODE):
                self.dfu, self.in_dfu_mode = number, triple == DFU_MODE
            if triple == BULK:
                outs = [address for address, kind in endpoints if kind == 2 and not address & 0x80]
                ins = [address for address, kind in endpoints if kind == 2 and address & 0x80]
                if len(outs) == len(ins) == 1:
                    self.bulk = number, outs[0], ins[0]

    def page(self, number):
        """session.md, 5; None if there is none."""
        try:
            return self.link.control(0xC1, 0x49, number, self.dfu, length=64)
        except usbip.Failed as failed:
            if failed.status != usbip.STALLED:
                raise
            return None

    def status_page(self):
        data = self.page(0)
        bulk.require(data is not None and len(data) >= 56 and data[0] == 1, "page 0")
        state, door, result, doors, flags = struct.unpack_from("<BBHBB", data, 2)
        session, received, announced = struct.unpack_from("<III", data, 8)
        return {
            "state": state, "door": door, "result": result, "door_dfu": doors & 3,
            "door_bulk": doors >> 2 & 3, "flags": flags, "session": session, "received": received,
            "announced": announced, "running": data[20], "boots_next": data[21],
            "slots": [data[22], data[23]]}

    def firmware(self, slot):
        data = self.page(1 + slot)
        return data[10 : data[1]].decode() if data else None

    def request(self, request, value=0, data=b""):
        """A DFU request without answer; False if it was stalled."""
        try:
            self.link.control(0x21, request, value, self.dfu, data)
            return True
        except usbip.Failed as failed:
            if failed.status != usbip.STALLED:
                raise
            return False

    def status(self):
        """bStatus, bwPollTimeout in ms, bState."""
        data = self.link.control(0xA1, GETSTATUS, 0, self.dfu, length=6)
        bulk.require(len(data) == 6, "length of a GETSTATUS")
        return data[0], int.from_bytes(data[1:4], "little"), data[4]

    def make_ready(self):
        """dfu.md, 2, point 3; bulk.md, 4, point 1."""
        for _ in range(5):
            _, _, state = self.status()
            if state == IDLE:
                return
            self.request(CLRSTATUS if state == ERROR else ABORT)
        raise Ended("does not become idle", 11)

    def describe(self):
        mode = "dfu" if self.in_dfu_mode else "run-time"
        page = self.page(4)
        say("device", busid=self.busid, mode=mode, vendor=self.vendor, product=self.product,
            page0=self.status_page(), firmware=[self.firmware(0), self.firmware(1)],
            page4=page and page.hex())


def look(address, busid, modes, limit):
    """The first device with an interface of one of these kinds, whatever its VID and PID."""
    end, reason = time.monotonic() + limit, "none there"
    while True:
        try:
            for listed in usbip.devices(address):
                if busid in (None, listed.busid) and not set(modes).isdisjoint(listed.interfaces):
                    return Bmc(address, listed)
        except (usbip.Lost, usbip.Refused) as why:
            reason = why
        if time.monotonic() > end:
            raise Ended(f"no device: {reason}", 12 if isinstance(reason, usbip.Refused) else 3)
        time.sleep(SWITCH_PAUSE)


def enter(address, busid, patience):
    """dfu.md, 2, points 1 and 2: the device in DFU mode."""
    bmc = look(address, busid, (RUN_TIME, DFU_MODE), patience)
    bmc.describe()
    if bmc.in_dfu_mode:
        return bmc
    if not bmc.request(DETACH, min(bmc.detach_timeout, 1000)):
        raise Ended("DETACH was refused: the door is shut", 8)
    bmc.link.close()
    bmc = look(address, bmc.busid, (DFU_MODE,), SWITCH_LIMIT)
    bmc.describe()
    return bmc


class Exchange:
    """Sections 2, 4 and 7: one OFFER or WHOLE, up to its RESULT."""

    def __init__(self, bmc, package, options):
        self.bmc, self.link, self.package = bmc, bmc.link, package
        _, self.out, self.into = bmc.bulk
        self.faults, self.stop, self.by = options.fault, options.stop, options.by
        self.transfer, self.read_late, self.stopped = options.transfer, options.read_late, False
        self.number = random.getrandbits(32)
        self.given, self.reading, self.found, self.heard, self.dropped = [], None, None, b"", 0
        self.sent, self.chunks, self.chunk_bytes, self.moved = 0, 0, 0, 0.0
        self.begun = 0.0

    # What comes.

    def hear(self):
        """The answer, header and all of its units, once it is there; until then there is a read under way."""
        while True:
            if self.reading is None:
                self.reading = self.link.give_in(self.into, bulk.UNIT)
            if self.reading.status is None:
                return None
            transfer, self.reading = self.reading, None
            if transfer.status != 0:
                raise usbip.Failed(transfer.status)
            bulk.require(transfer.actual == transfer.length, "less than whole units on IN")
            if self.found is None:
                self.found = bulk.header_of_answer(transfer.data, self.number)
                if self.found is None:
                    self.dropped += 1
                    bulk.require(self.dropped <= DROPPED_MOST, "nothing of this exchange on IN")
                    continue
                self.dropped = 0
                more = (bulk.units(self.found.length) - 1) * bulk.UNIT
                if more:
                    self.reading = self.link.give_in(self.into, more)
            self.heard += transfer.data
            if self.reading is None:
                answer = self.found, self.heard
                self.found, self.heard = None, b""
                return answer

    # What goes.

    def transfers(self, messages):
        """The messages in transfers of `transfer` bytes, the last one of what is left."""
        waiting = bytearray()
        for message in messages:
            waiting += message
            # What is no whole number of units is nothing to be followed in its transfer.
            ends = len(message) % bulk.UNIT != 0
            while len(waiting) >= self.transfer or ends and waiting:
                yield bytes(waiting[: self.transfer])
                del waiting[: self.transfer]
        if waiting:
            yield bytes(waiting)

    def settle(self):
        """Looks after the OUT transfers that are over."""
        for transfer in self.given:
            if transfer.status is not None:
                if transfer.status != 0 or transfer.actual != transfer.length:
                    raise usbip.Failed(transfer.status)
                self.moved = time.monotonic()
        self.given = [transfer for transfer in self.given if transfer.status is None]
        now = time.monotonic()
        if self.given and (now - max(self.moved, self.given[0].given) > OUT_LIMIT or now - self.begun > SENDING_LIMIT):
            raise usbip.TimedOut()

    def give(self, messages, listen=True):
        """Gives all of it out and listens meanwhile; an answer that overtakes the last transfer."""
        for transfer in self.transfers(messages):
            while True:
                self.settle()
                answer = self.hear() if listen else None
                if answer:
                    return answer
                if sum(each.length for each in self.given) < UNDER_WAY:
                    break
                self.link.pump(1)
            self.given.append(self.link.give_out(self.out, transfer))
            self.sent += len(transfer)
        return None

    def arrive(self):
        """Until the device has taken all that was given."""
        while self.given:
            self.settle()
            self.link.pump(1)

    def listen(self, limit):
        """The answer to all that was given; the time begins when the device has taken it."""
        end = None
        while True:
            self.settle()
            answer = self.hear()
            if answer:
                return answer
            if not self.given:
                end = end or time.monotonic() + limit
                if time.monotonic() > end:
                    raise usbip.TimedOut()
            self.link.pump(1)

    def withdraw(self):
        reading = [self.reading] if self.reading else []
        self.link.take_back(self.given + reading)
        self.given, self.reading = [], None

    # The exchange.

    def run(self):
        """The RESULT, or None where --stop ended it and there is to be none."""
        self.begun = time.monotonic()
        answer = self.give(self.opening())
        if answer:
            bulk.require(answer[0].type == bulk.RESULT, "a NEED before the end of the OFFER")
            return self.result(answer)
        limit, asked, rounds = NEED_LIMIT, None, 0
        while True:
            answer = self.listen(limit)
            if answer[0].type == bulk.RESULT:
                result = self.result(answer)
                bulk.require(result.result != 1 or asked is not None, "ok before the first NEED")
                return result
            bulk.require(answer[0].number == rounds, "round of a NEED")
            need = bulk.read_need(*answer, self.package.lengths, asked)
            status, poll, state = self.bmc.status()
            say("need", round=rounds, chunks=need.count, asked=len(need.asked), bytes=need.bytes,
                first=need.asked[:1], dfu=[state, status, poll])
            asked = (asked or set()).union(need.asked)
            rounds, limit = rounds + 1, ROUND_LIMIT
            if not need.asked:
                continue
            answer = self.give(self.round(need.asked), not self.read_late)
            if self.stopped and not answer:
                return stop(self, self.bmc, self.by)
            if answer:
                bulk.require(answer[0].type == bulk.RESULT, "a NEED in the middle of a round")
                result = self.result(answer)
                bulk.require(result.result != 1, "ok in the middle of a round")
                return result

    def result(self, answer):
        self.withdraw()
        result = bulk.read_result(*answer)
        bulk.require(result.result in RESULTS, f"result {result.result}")
        return result

    def opening(self):
        """The OFFER or the WHOLE, and what --fault wants of it."""
        kind = bulk.WHOLE if isinstance(self.package, Whole) else bulk.OFFER
        body = self.package.offer
        if "junk" in self.faults:
            yield from (bytes([number]) * bulk.UNIT for number in range(200))
            yield bulk.message(bulk.CHUNK, self.number ^ 1, 0, b"of an earlier exchange")
        if "first-runt" in self.faults:
            yield b"no unit"
        if "short-offer" in self.faults:
            body = body[:-512]
        if "long-offer" in self.faults:
            body += bytes(512)
        data = bulk.message(kind, self.number, 0, body)
        for kind, (at, byte) in BAD_BYTES.items():
            if kind in self.faults:
                data = replaced(data, at, byte)
        yield data

    def chunk(self, number, **others):
        data = self.package.chunk(number)
        return bulk.message(bulk.CHUNK, others.pop("exchange", self.number), number, data, **others)

    def round(self, asked):
        """The chunks asked for, but for what --fault and --stop want of them."""
        asked = list(asked)
        swap = self.faults.get("reorder", -2) - self.chunks
        if 0 <= swap < len(asked) - 1:
            asked[swap], asked[swap + 1] = asked[swap + 1], asked[swap]
        for number in asked:
            if self.chunks == self.stop:
                break
            yield from self.faulty(number, {kind for kind, at in self.faults.items() if at == self.chunks})
            self.chunks += 1
            self.chunk_bytes += self.package.lengths[number]
        self.stopped = self.chunks == self.stop

    def faulty(self, number, faults):
        data = self.chunk(number)
        if "dnload" in faults:
            say("dnload", stalled=not self.bmc.request(DNLOAD, 0, b"x" * 64))
        if "runt" in faults:
            data = data[:700]
        if "clear-halt" in faults:
            for endpoint in (self.out, self.into):
                # CLEAR_FEATURE of ENDPOINT_HALT: some operating systems send it by themselves.
                self.link.control(0x02, 1, 0, endpoint)
        if "offer" in faults:
            yield bulk.message(bulk.OFFER, self.number ^ 1, 0, self.package.offer)
        if "unasked" in faults:
            yield bulk.message(bulk.CHUNK, self.number, len(self.package.lengths), b"x")
        if "exchange" in faults:
            data = self.chunk(number, exchange=self.number ^ 1)
        if "corrupt" in faults:
            data = replaced(data, bulk.HEADER.size, data[bulk.HEADER.size] ^ 1)
        if "oversized" in faults:
            data = self.chunk(number, length=self.package.lengths[number] + 1)
        if "huge" in faults:
            data = self.chunk(number, length=0xFFFFFFFF)
        if "undersized" in faults:
            data = self.chunk(number, length=self.package.lengths[number] - 1)
        if "filling" in faults:
            data = replaced(data, -1, 1)
        yield data
        if "duplicate" in faults:
            yield data


def replaced(data, at, byte):
    data = bytearray(data)
    data[at] = byte
    return bytes(data)


def exchange(bmc, package, options):
    """An exchange, and what the device says behind it; the exit code."""
    run, before = Exchange(bmc, package, options), bmc.status()
    failure = None
    try:
        result = run.run()
    except (usbip.Failed, usbip.TimedOut, bulk.Broken) as why:
        # 7: it is left, and nothing that it said counts.
        failure = Ended(f"{type(why).__name__}: {why}", 11 if isinstance(why, bulk.Broken) else 10)
        run.withdraw()
        bmc.request(ABORT)
        result = None
    counts = {
        "sent": run.sent, "offer": len(package.offer), "chunks": run.chunks, "chunk_bytes": run.chunk_bytes}
    if failure:
        say("end", why=str(failure), page0=bmc.status_page(), **counts)
        return failure.code
    if result is None:
        say("end", why=f"stopped by {options.by}", **counts)
        return 14
    name, status, code = RESULTS[result.result]
    say("result", code=result.result, name=name, session=result.session, version=result.version)
    found = bmc.status()
    page = bmc.status_page()
    say("dfu", status=found[0], poll=found[1], state=found[2])
    say("end", why=name, page0=page, **counts)
    if result.session == 0 and name in ("protocol", "sequence") or "in-dfu" in options.fault:
        # 5 and 6: nothing has changed.
        bulk.require(found == before, f"{before} became {found} behind {name}")
    else:
        idle = name in ("ok", "aborted", "disconnected")
        bulk.require(found[2] == (IDLE if idle else ERROR), f"state {found[2]} behind {name}")
        bulk.require(found[0] == status, f"bStatus {found[0]} behind {name}")
    if result.session:
        told = page["session"], page["result"], page["door"]
        bulk.require(told == (result.session, result.result, 2), f"page 0 has {told}")
    if name == "ok" and not options.stay:
        bmc.request(DETACH)
    return code


def stop(run, bmc, by):
    """The host's ways to end an exchange (4 and 5); the RESULT, where there is to be one."""
    run.arrive()
    if by == "disconnect":
        bmc.link.close()
        return None
    if by == "silence":
        say("silent")
        return run.result(run.listen(ROUND_LIMIT))
    if by == "detach":
        bulk.require(bmc.request(DETACH), "DETACH in an exchange was refused")
        bmc.link.close()
        return None
    run.withdraw()
    if by == "abort":
        bulk.require(bmc.request(ABORT), "ABORT in an exchange was refused")
        return run.result(run.listen(5))
    if by == "set-interface":
        bmc.link.control(0x01, 11, 0, bmc.bulk[0])
    else:
        bmc.link.control(0x00, 9, bmc.configuration, 0)
    status, _, state = bmc.status()
    bulk.require((status, state) == (OK, IDLE), f"state {state}, bStatus {status} behind {by}")
    page = bmc.status_page()
    expected = ABORTED if by == "set-interface" else DISCONNECTED
    bulk.require(page["result"] == expected, f"result {page['result']} behind {by}")
    return None


def download(bmc, data):
    """The same by DFU (dfu.md, 2, points 4 to 6), without blocks sent ahead."""
    size = min(bmc.transfer_size, 4096)
    for number, at in enumerate(range(0, len(data) + size, size)):
        taken = bmc.request(DNLOAD, number & 0xFFFF, data[at : at + size])
        while True:
            status, poll, state = bmc.status()
            if state not in (SYNC, BUSY, MANIFEST_SYNC, MANIFEST):
                break
            time.sleep(poll / 1000)
        if not taken or state not in (IDLE, DNLOAD_IDLE):
            break
    page = bmc.status_page()
    bulk.require(page["result"] in RESULTS, "no result behind a download")
    name, expected, code = RESULTS[page["result"]]
    say("dfu", status=status, poll=poll, state=state)
    say("end", why=name, page0=page, sent=min(at, len(data)))
    bulk.require(status == expected, f"bStatus {status} behind {name}")
    # A strict device takes DETACH in dfuIDLE for an error, and leaves by itself.
    if name == "ok" and page["flags"] & 8:
        bmc.request(DETACH)
    return code


def bulk_door(bmc):
    """1.1: whether the device has one that we can use."""
    data = bmc.page(4)
    if data is None or bmc.bulk is None:
        return False
    page = bulk.read_page(data)
    number, out, into = bmc.bulk
    say("bulk", interface=number, out=out, into=into, oldest=page.oldest, newest=page.newest, pool=page.pool)
    return page.interface == number and page.oldest <= bulk.VERSION <= page.newest


def update(options):
    with open(options.package, "rb") as file:
        data = file.read()
    package = Whole(data) if options.whole else Package(data)
    if options.data:
        with open(options.data, "rb") as file:
            package.data = file.read()
    bmc = enter(options.address, options.busid, options.wait)
    bmc.make_ready()
    if options.door == "dfu" or not bulk_door(bmc):
        return download(bmc, data)
    if "in-error" in options.fault:
        bulk.require(not bmc.request(CLRSTATUS), "CLRSTATUS in dfuIDLE was taken")
    if "in-dfu" in options.fault:
        bulk.require(bmc.request(DNLOAD, 0, data[:512]), "the first block was refused")
    return exchange(bmc, package, options)


# Of the first message: the byte that is wrong, and what it is.
BAD_BYTES = {"version": (4, 0x7F), "reserved": (6, 1), "number": (12, 1), "padding": (-1, 1)}
BARE_FAULTS = "junk first-runt short-offer long-offer in-error in-dfu".split() + list(BAD_BYTES)
CHUNK_FAULTS = """
    corrupt duplicate reorder oversized undersized huge exchange unasked filling runt offer dnload clear-halt
""".split()


def fault(text):
    kind, _, at = text.partition(":")
    if kind in BARE_FAULTS and not at:
        return kind, None
    if kind in CHUNK_FAULTS and at.isdigit():
        return kind, int(at)
    raise argparse.ArgumentTypeError(f"{text}: none of {BARE_FAULTS}, {CHUNK_FAULTS} with :N")


def transfer(text):
    length = int(text)
    if length < 1 or length % bulk.UNIT:
        raise argparse.ArgumentTypeError("whole units of 512 bytes")
    return length


def arguments():
    parser = argparse.ArgumentParser(description="An Inband host over USB/IP, for tests.")
    add = parser.add_argument
    add("address", help="ADDRESS:PORT of the USB/IP server")
    add("package", help="the file to be sent")
    add("--busid", help="the device, if it is not the first that is a BMC")
    add("--wait", type=float, default=SWITCH_LIMIT, metavar="SECONDS", help="for a device to be there")
    add("--door", choices=("bulk", "dfu"), default="bulk", help="bulk falls back on dfu where there is none")
    add("--whole", action="store_true", help="send the file as one without index")
    add("--stay", action="store_true", help="leave it to the device to leave DFU mode behind an update")
    add("--transfer", type=transfer, default=65536, metavar="BYTES", help="length of an OUT transfer")
    add("--read-late", action="store_true", help="read IN only when a round has been given out")
    add("--data", metavar="FILE", help="take the chunks from this file, at the places that the index says")
    add("--stop", type=int, metavar="N", help="end the exchange when the device has taken N chunks")
    add("--by", default="disconnect", help="how --stop ends it; by silence it waits for the device to do it",
        choices=("disconnect", "abort", "detach", "set-interface", "set-configuration", "silence"))
    add("--fault", type=fault, action="append", default=[], metavar="KIND[:N]",
        help=f"{', '.join(BARE_FAULTS)}; with the chunk N that is sent: {', '.join(CHUNK_FAULTS)}")
    options = parser.parse_args()
    options.fault = dict(options.fault)
    return options


def main():
    try:
        return update(arguments())
    except Ended as ended:
        tell(ended)
        return ended.code
    except bulk.Broken as why:
        tell(f"the device broke the protocol: {why}")
        return 11
    except (usbip.Lost, usbip.Failed, usbip.TimedOut) as why:
        tell(f"{type(why).__name__}: {why}")
        return 10


if __name__ == "__main__":
    sys.exit(main())
