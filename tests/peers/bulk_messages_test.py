#!/usr/bin/env python3
"""bulk_messages.py against the bytes that docs/spec/bulk.md, 10 has frozen, and against what is none."""

import pathlib
import re
import unittest

import bulk_messages as bulk

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "spec" / "bulk.md"
EXCHANGE = 0x11223344


def frozen():
    """The rows of section 10: name, then bytes."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[10]
    rows = re.findall(r"^    (\w+) +((?:[0-9A-F]{2} ?)+)$", section, flags=re.MULTILINE)
    return {name: bytes.fromhex(data) for name, data in rows}


FROZEN = frozen()


def unit(name):
    return FROZEN[name].ljust(bulk.UNIT, b"\0")


def changed(data, at, byte):
    return data[:at] + bytes([byte]) + data[at + 1 :]


class Frozen(unittest.TestCase):
    def test_offer(self):
        data = bulk.message(bulk.OFFER, EXCHANGE, 0, bytes(3584))
        self.assertEqual(len(data), 8 * 512)
        self.assertEqual(data[:20], FROZEN["offer"])

    def test_whole(self):
        data = bulk.message(bulk.WHOLE, EXCHANGE, 0, (100_000).to_bytes(8, "little"))
        self.assertEqual(data, unit("whole"))
        self.assertEqual(bulk.pieces(100_000), [65_536, 34_464])

    def test_chunk(self):
        self.assertEqual(bulk.message(bulk.CHUNK, EXCHANGE, 10, b"hello"), unit("chunk"))

    def test_need(self):
        found = bulk.header_of_answer(unit("need"), EXCHANGE)
        need = bulk.read_need(found, unit("need"), [1000] * 11, None)
        self.assertEqual(need, bulk.Need(0, 11, 3000, [0, 3, 10]))

    def test_result(self):
        found = bulk.header_of_answer(unit("result"), EXCHANGE)
        self.assertEqual(bulk.read_result(found, unit("result")), bulk.Result(1, 19, 7))

    def test_page(self):
        self.assertEqual(bulk.read_page(FROZEN["page"]), bulk.Page(1, 1, 1, 1 << 20))


class Wrong(unittest.TestCase):
    def need(self, data, lengths=(1000,) * 11, before=None):
        found = bulk.header_of_answer(data, EXCHANGE)
        return bulk.read_need(found, data, list(lengths), before)

    def test_units_that_a_host_drops(self):
        for data in (bytes(512), unit("chunk"), changed(unit("need"), 8, 0), changed(unit("need"), 5, 0x83)):
            self.assertIsNone(bulk.header_of_answer(data, EXCHANGE))

    def test_a_result_of_another_version_is_read(self):
        data = changed(unit("result"), 4, 9)
        found = bulk.header_of_answer(data, EXCHANGE)
        self.assertEqual(bulk.read_result(found, data).version, 9)

    def test_each_byte_of_a_need_and_of_a_result(self):
        """Whatever byte is another one: dropped, broken, or one of the few fields that are free."""
        free = {"need": set(range(12, 16)), "result": {4, *range(20, 22), *range(24, 28)}}
        for name, positions in free.items():
            good = unit(name)
            for at in range(bulk.UNIT):
                data = changed(good, at, good[at] ^ 0x40)
                found, broken = None, False
                try:
                    found = bulk.header_of_answer(data, EXCHANGE)
                    if found and found.type == bulk.NEED:
                        self.need(data)
                    elif found:
                        bulk.read_result(found, data)
                except bulk.Broken:
                    broken = True
                self.assertEqual(found is not None and not broken, at in positions, f"{name}, byte {at}")

    def test_needs_that_ask_wrongly(self):
        good = unit("need")
        for data, lengths, before in (
            (good, [1000] * 10 + [999], None),
            (good, [1000] * 12, None),
            (good, [1000] * 11, {10}),
            (changed(good, 37, 0x0C), [1000] * 11, None),
            (changed(good, 28, 2), [1000] * 11, None),
        ):
            with self.assertRaises(bulk.Broken):
                self.need(data, lengths, before)

    def test_a_need_that_asks_for_nothing_is_the_first_one(self):
        data = bulk.message(bulk.NEED, EXCHANGE, 0, (11).to_bytes(4, "little") + bytes(12 + 2))
        self.assertEqual(self.need(data).asked, [])
        with self.assertRaises(bulk.Broken):
            self.need(data, before={0})


if __name__ == "__main__":
    unittest.main()
