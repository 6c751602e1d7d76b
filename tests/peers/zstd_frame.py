"""One Zstandard frame of the form docs/spec/package.md allows, decoded as RFC 8878 says.

Numbers in comments are sections of RFC 8878. Speed does not matter here, being plain does.
"""

MAGIC = b"\x28\xb5\x2f\xfd"
LARGEST_BLOCK = 128 * 1024


class BadFrame(Exception):
    """The bytes are not a frame of that form."""


def require(condition, message):
    if not condition:
        raise BadFrame(message)


def decode(frame, length):
    """The content of `frame`, which has to be `length` bytes."""
    require(frame[:4] == MAGIC, "magic")
    require(len(frame) > 4, "no header")
    descriptor = frame[4]
    # Single_Segment_Flag is bit 5, Frame_Content_Size_Flag bits 7 and 6 (3.1.1.1.1).
    require(descriptor & 0x3F == 0x20, "descriptor")
    size = (1, 2, 4, 8)[descriptor >> 6]
    require(len(frame) >= 5 + size, "header cut short")
    content = int.from_bytes(frame[5 : 5 + size], "little") + (256 if size == 2 else 0)
    require(content == length, "content size")
    return Frame(frame, 5 + size, content).run()


class Frame:
    """What lasts from block to block."""

    def __init__(self, data, at, content):
        self.data, self.at, self.content = data, at, content
        self.out = bytearray()
        self.repeats = [1, 4, 8]
        self.huffman = None
        self.tables = {"literals": None, "offsets": None, "matches": None}

    def take(self, count):
        require(self.at + count <= len(self.data), "cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def run(self):
        largest = min(self.content, LARGEST_BLOCK)
        last = False
        while not last:
            header = int.from_bytes(self.take(3), "little")
            last, kind, size = header & 1, header >> 1 & 3, header >> 3
            require(size <= largest, "block size")
            before = len(self.out)
            if kind == 0:
                self.out += self.take(size)
            elif kind == 1:
                self.out += self.take(1) * size
            elif kind == 2:
                self.compressed_block(self.take(size))
            else:
                raise BadFrame("reserved block type")
            require(len(self.out) - before <= largest, "block decodes to too much")
            require(len(self.out) <= self.content, "blocks decode to too much")
        require(self.at == len(self.data), "bytes behind the frame")
        require(len(self.out) == self.content, "content shorter than stated")
        return bytes(self.out)

    def compressed_block(self, block):
        """3.1.1.3"""
        literals, rest = self.literals(block)
        require(rest, "no sequences section")
        count = rest[0]
        if count == 0:
            require(len(rest) == 1, "bytes behind no sequences")
            self.out += literals
            return
        if count < 128:
            at = 1
        elif count < 255:
            require(len(rest) >= 2, "count cut short")
            count, at = (count - 128 << 8) + rest[1], 2
        else:
            require(len(rest) >= 3, "count cut short")
            count, at = rest[1] + (rest[2] << 8) + 0x7F00, 3
        require(len(rest) > at, "no modes")
        modes = rest[at]
        require(modes & 3 == 0, "reserved bits of modes")
        at += 1
        at = self.table("literals", modes >> 6, rest, at)
        at = self.table("offsets", modes >> 4 & 3, rest, at)
        at = self.table("matches", modes >> 2 & 3, rest, at)
        self.sequences(count, Backwards(rest[at:]), literals)

    # Literals, 3.1.1.3.1

    def literals(self, block):
        require(block, "empty block")
        kind, form = block[0] & 3, block[0] >> 2 & 3
        if kind < 2:
            header, shift = ((1, 3), (2, 4), (1, 3), (3, 4))[form]
            require(len(block) >= header, "literals header cut short")
            size = int.from_bytes(block[:header], "little") >> shift
            require(size <= LARGEST_BLOCK, "too many literals")
            stored = size if kind == 0 else 1
            require(len(block) >= header + stored, "literals cut short")
            data = block[header : header + stored]
            return (data if kind == 0 else data * size), block[header + stored :]
        header, bits = ((3, 10), (3, 10), (4, 14), (5, 18))[form]
        require(len(block) >= header, "literals header cut short")
        numbers = int.from_bytes(block[:header], "little") >> 4
        size = numbers & (1 << bits) - 1
        stored = numbers >> bits & (1 << bits) - 1
        require(size <= LARGEST_BLOCK, "too many literals")
        require(len(block) >= header + stored, "literals cut short")
        data = block[header : header + stored]
        if kind == 2:
            self.huffman, used = huffman_tree(data)
            data = data[used:]
        require(self.huffman is not None, "treeless literals without a tree")
        if form == 0:
            out = huffman_stream(self.huffman, data, size)
        else:
            out = self.four_streams(data, size)
        return out, block[header + stored :]

    def four_streams(self, data, size):
        """3.1.1.3.1.6: a jump table of three lengths, then four streams."""
        require(len(data) >= 6, "no jump table")
        each = (size + 3) // 4
        require(size >= 3 * each, "four streams for too few literals")
        lengths = [int.from_bytes(data[i : i + 2], "little") for i in (0, 2, 4)]
        out, at = b"", 6
        for length, count in zip(lengths, (each,) * 3):
            require(at + length <= len(data), "stream cut short")
            out += huffman_stream(self.huffman, data[at : at + length], count)
            at += length
        return out + huffman_stream(self.huffman, data[at:], size - 3 * each)

    # Sequences, 3.1.1.3.2

    def table(self, which, mode, data, at):
        code = CODES[which]
        if mode == 0:
            self.tables[which] = fse_table(code["default"], code["log"])
        elif mode == 1:
            require(at < len(data), "no symbol")
            require(data[at] <= code["largest"], "symbol")
            self.tables[which] = (0, [(data[at], 0, 0)])
            at += 1
        elif mode == 2:
            counts, log, used = fse_counts(data[at:], code["most"], code["largest"])
            self.tables[which] = fse_table(counts, log)
            at += used
        require(self.tables[which] is not None, "repeat of no table")
        return at

    def sequences(self, count, bits, literals):
        tables = [self.tables[which] for which in ("literals", "offsets", "matches")]
        (_, of_lit), (_, of_off), (_, of_match) = tables
        lit, off, match = (bits.read(log) for log, _ in tables)
        used = 0
        for left in range(count, 0, -1):
            offset_code = of_off[off][0]
            value = (1 << offset_code) + bits.read(offset_code)
            base, extra = MATCHES[of_match[match][0]]
            match_length = base + bits.read(extra)
            base, extra = LITERALS[of_lit[lit][0]]
            length = base + bits.read(extra)
            if left > 1:
                lit = of_lit[lit][2] + bits.read(of_lit[lit][1])
                match = of_match[match][2] + bits.read(of_match[match][1])
                off = of_off[off][2] + bits.read(of_off[off][1])
            require(bits.left >= 0, "sequences cut short")
            require(used + length <= len(literals), "literals used up")
            self.out += literals[used : used + length]
            used += length
            distance = self.distance(value, length)
            require(0 < distance <= len(self.out), "offset before the content")
            require(len(self.out) + match_length <= self.content, "decodes to too much")
            if distance >= match_length:
                start = len(self.out) - distance
                self.out += self.out[start : start + match_length]
            else:
                pattern = self.out[len(self.out) - distance :]
                self.out += (pattern * (match_length // distance + 1))[:match_length]
        require(bits.left == 0, "bits left behind the sequences")
        self.out += literals[used:]

    def distance(self, value, length):
        """3.1.1.5: repeat offsets."""
        if value > 3:
            self.repeats = [value - 3] + self.repeats[:2]
            return value - 3
        which = value - 1 if length else value
        if which == 3:
            distance = self.repeats[0] - 1
            self.repeats = [distance] + self.repeats[:2]
        else:
            distance = self.repeats.pop(which)
            self.repeats.insert(0, distance)
        return distance


class Backwards:
    """A bit stream read from its end; its last byte holds a 1 behind the last bit (4.1)."""

    def __init__(self, data):
        require(data and data[-1], "no end mark")
        self.bits = int.from_bytes(data, "little")
        self.left = self.bits.bit_length() - 1

    def read(self, count):
        """Bits before the first are zeros; `left` says that they were asked for."""
        self.left -= count
        if self.left >= 0:
            return self.bits >> self.left & (1 << count) - 1
        return self.bits << -self.left & (1 << count) - 1


def fse_counts(data, most, largest):
    """4.1.1: how often each symbol stands in a table; the counts, the log, bytes used."""
    stream, at, end = int.from_bytes(data, "little"), 4, 8 * len(data)
    require(data, "no table")
    log = (stream & 15) + 5
    require(log <= most, "accuracy")
    counts, remaining = [], 1 << log
    while remaining > 0:
        require(len(counts) <= largest, "too many symbols")
        width = (remaining + 1).bit_length()
        value = stream >> at & (1 << width) - 1
        low = value & (1 << width - 1) - 1
        threshold = (1 << width) - 1 - (remaining + 1)
        if low < threshold:
            value, width = low, width - 1
        elif value >= 1 << width - 1:
            value -= threshold
        at += width
        counts.append(value - 1)
        remaining -= abs(value - 1)
        if value == 1:
            again = 3
            while again == 3:
                again = stream >> at & 3
                at += 2
                require(at <= end, "table cut short")
                counts += [0] * again
    require(remaining == 0 and at <= end, "counts")
    require(len(counts) <= largest + 1, "too many symbols")
    return counts, log, (at + 7) // 8


def fse_table(counts, log):
    """4.1.1: for each state its symbol, the bits to read, what to add to them."""
    size = 1 << log
    symbols, high = [0] * size, size
    for symbol, count in enumerate(counts):
        if count == -1:
            high -= 1
            symbols[high] = symbol
    at = 0
    for symbol, count in enumerate(counts):
        for _ in range(max(count, 0)):
            symbols[at] = symbol
            at = at + (size >> 1) + (size >> 3) + 3 & size - 1
            while at >= high:
                at = at + (size >> 1) + (size >> 3) + 3 & size - 1
    require(at == 0, "table does not add up")
    following = [abs(count) for count in counts]
    table = []
    for symbol in symbols:
        state = following[symbol]
        following[symbol] += 1
        bits = log - (state.bit_length() - 1)
        table.append((symbol, bits, (state << bits) - size))
    return log, table


def huffman_tree(data):
    """4.2.1: the decoding table (bits of its index; symbol and bits of each), bytes used."""
    require(data, "no tree")
    header = data[0]
    if header >= 128:
        count = header - 127
        used = 1 + (count + 1) // 2
        require(len(data) >= used, "weights cut short")
        weights = [data[1 + i // 2] >> (0 if i % 2 else 4) & 15 for i in range(count)]
    else:
        used = 1 + header
        require(len(data) >= used, "weights cut short")
        weights = huffman_weights(data[1:used])
    total = sum(1 << weight >> 1 for weight in weights)
    require(total > 0, "no weights")
    most = total.bit_length()
    require(most <= 11, "codes too long")
    rest = (1 << most) - total
    require(rest & rest - 1 == 0, "weights do not add up")
    weights.append(rest.bit_length())
    require(len(weights) <= 256, "too many weights")
    table = []
    for weight in range(1, most + 1):
        for symbol, own in enumerate(weights):
            if own == weight:
                table += [(symbol, most + 1 - weight)] * (1 << weight >> 1)
    require(len(table) == 1 << most, "codes do not add up")
    return (most, table), used


def huffman_weights(data):
    """4.2.1.2: weights by two FSE states in turn."""
    counts, log, used = fse_counts(data, 6, 11)
    _, table = fse_table(counts, log)
    bits = Backwards(data[used:])
    states = [bits.read(log), bits.read(log)]
    require(bits.left >= 0, "weights cut short")
    weights, turn = [], 0
    while True:
        symbol, count, base = table[states[turn]]
        weights.append(symbol)
        require(len(weights) < 256, "too many weights")
        states[turn] = base + bits.read(count)
        turn ^= 1
        if bits.left < 0:
            weights.append(table[states[turn]][0])
            return weights


def huffman_stream(tree, data, count):
    """4.2.2"""
    most, table = tree
    bits = Backwards(data)
    # The index is always `most` bits wide: what reaches over the beginning is zeros.
    whole, left, mask, out = bits.bits << most, bits.left, (1 << most) - 1, bytearray()
    for _ in range(count):
        require(left > 0, "literals cut short")
        symbol, width = table[whole >> left & mask]
        out.append(symbol)
        left -= width
    require(left == 0, "literals left over")
    return bytes(out)


LITERALS = [(n, 0) for n in range(16)] + [
    (16, 1), (18, 1), (20, 1), (22, 1), (24, 2), (28, 2), (32, 3), (40, 3), (48, 4), (64, 6),
    (128, 7), (256, 8), (512, 9), (1024, 10), (2048, 11), (4096, 12), (8192, 13), (16384, 14),
    (32768, 15), (65536, 16),
]
MATCHES = [(n + 3, 0) for n in range(32)] + [
    (35, 1), (37, 1), (39, 1), (41, 1), (43, 2), (47, 2), (51, 3), (59, 3), (67, 4), (83, 4),
    (99, 5), (131, 7), (259, 8), (515, 9), (1027, 10), (2051, 11), (4099, 12), (8195, 13),
    (16387, 14), (32771, 15), (65539, 16),
]
# 3.1.1.3.2.2: defaults, largest accuracy, largest symbol.
CODES = {
    "literals": {
        "default": [4, 3] + [2] * 11 + [1] * 3 + [2] * 9 + [3, 2] + [1] * 5 + [-1] * 4,
        "log": 6, "most": 9, "largest": 35,
    },
    "offsets": {
        "default": [1] * 6 + [2] * 3 + [1] * 15 + [-1] * 5,
        "log": 5, "most": 8, "largest": 31,
    },
    "matches": {
        "default": [1, 4, 3] + [2] * 6 + [1] * 37 + [-1] * 7,
        "log": 6, "most": 9, "largest": 52,
    },
}
