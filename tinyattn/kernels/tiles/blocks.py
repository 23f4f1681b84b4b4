"""Weights as files store them, a register at a time: blocks of 4 to 8 bits with their scales, and floats of 16 or 32 bits."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.lanes import INT, cpu_features

BYTE, SHORT, WORD = ir.IntType(8), ir.IntType(16), ir.IntType(32)
# The bytes and the weights of a block of each format; of floats a register is a block, whose bytes are counted per weight.
BLOCKS = {"Q4_0": (18, 32), "Q4_1": (20, 32), "Q5_0": (22, 32), "Q5_1": (24, 32), "Q8_0": (34, 32), "Q4_K": (144, 256),
          "Q5_K": (176, 256), "Q6_K": (210, 256)}
FLOATS = {"F32": 4, "F16": 2, "BF16": 2}
CODES = (*BLOCKS, *FLOATS)
# Bits of a float16 moved to their places in a float32 are a number that is smaller by this factor.
EXPONENTS = 2.0 ** 112


def sizes(code: str) -> tuple[int, int]:
    """Returns the bytes and the weights of what is read as one block."""
    return BLOCKS[code] if code in BLOCKS else (FLOATS[code] * lanes.lanes(4), lanes.lanes(4))


class Block:
    """One block at a place in memory: `register(i)` is its weights from i times the lanes on, widened to float32."""

    def __init__(self, builder: ir.IRBuilder, code: str, place: ir.Value) -> None:
        self.builder, self.code, self.place = builder, code, place
        self.vector = ir.VectorType(ir.FloatType(), lanes.lanes(4))
        self.words = ir.VectorType(WORD, self.vector.count)
        self.kept: dict[str, ir.Value] = {}

    def at(self, offset: int, kind: ir.Type) -> ir.Value:
        """Returns what stands from a byte of the block on."""
        place = self.builder.gep(self.place, [INT(offset)])
        return self.builder.load(self.builder.bitcast(place, kind.as_pointer()), align=1)

    def once(self, name: str, make: Callable[[], ir.Value]) -> ir.Value:
        """Returns a value that several registers of the block need."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def byte(self, offset: int) -> ir.Value:
        """Returns a byte as a word."""
        return self.once(f"byte {offset}", lambda: self.builder.zext(self.at(offset, BYTE), WORD))

    def half(self, offset: int) -> ir.Value:
        """Returns a float16 as a single float32."""
        return self.once(f"half {offset}", lambda: widened_half(self.builder, self.at(offset, SHORT)))

    def spread(self, name: str, make: Callable[[], ir.Value]) -> ir.Value:
        """Returns a single number in every lane."""
        return self.once(f"spread {name}", lambda: lanes.splat(self.builder, make(), self.vector))

    def whole(self, numbers: list[int]) -> ir.Constant:
        """Returns constants, one per lane."""
        return ir.Constant(self.words, numbers)

    def same(self, number: int) -> ir.Constant:
        """Returns one constant in every lane."""
        return self.whole([number] * self.vector.count)

    def bytes(self, offset: int, signed: bool = False) -> ir.Value:
        """Returns as many bytes as there are lanes as words."""
        held = self.at(offset, ir.VectorType(BYTE, self.vector.count))
        return self.builder.sext(held, self.words) if signed else self.builder.zext(held, self.words)

    def bits(self, offset: int, shift: int, mask: int) -> ir.Value:
        """Returns some bits of each of so many bytes."""
        held = self.bytes(offset)
        if shift:
            held = self.builder.lshr(held, self.same(shift))
        return held if shift == 8 - mask.bit_length() else self.builder.and_(held, self.same(mask))

    def raised(self, low: ir.Value, high: ir.Value, shift: int) -> ir.Value:
        """Returns low bits with high ones above them."""
        return self.builder.or_(low, self.builder.shl(high, self.same(shift)))

    def scaled(self, numbers: ir.Value, less: int, factor: ir.Value, offset: ir.Value | None = None) -> ir.Value:
        """Returns (numbers - less) factor + offset."""
        if less:
            numbers = self.builder.sub(numbers, self.same(less))
        floats = self.builder.sitofp(numbers, self.vector)
        return self.builder.fmul(floats, factor) if offset is None else lanes.multiply_add(self.builder, floats, factor, offset)

    def register(self, i: int) -> ir.Value:
        """Returns the weights from i times the lanes on."""
        if self.code in FLOATS:
            return self.floats()
        start = i * self.vector.count
        return self.group(start) if BLOCKS[self.code][1] == 32 else self.large(start)

    def floats(self) -> ir.Value:
        """Returns a register of floats."""
        if self.code == "F32":
            return self.at(0, self.vector)
        held = self.at(0, ir.VectorType(SHORT, self.vector.count))
        if self.code == "F16":
            return widened_half(self.builder, held)
        return self.builder.bitcast(self.builder.shl(self.builder.zext(held, self.words), self.same(16)), self.vector)

    def group(self, start: int) -> ir.Value:
        """Returns weights of a block of 32, which have one scale: first the low halves of 16 bytes, then the high ones."""
        factor = self.spread("factor", lambda: self.half(0))
        if self.code == "Q8_0":
            return self.scaled(self.bytes(2 + start, signed=True), 0, factor)
        offset = self.spread("offset", lambda: self.half(2)) if self.code[-1] == "1" else None
        first = 4 if offset is not None else 2
        numbers = self.bits(first + (4 if self.code[1] == "5" else 0) + start % 16, 4 * (start // 16), 15)
        if self.code[1] == "5":
            fifths = self.once("fifths", lambda: self.builder.shuffle_vector(
                *2 * [self.builder.bitcast(self.at(first, WORD), ir.VectorType(WORD, 1))], self.same(0)))
            own = self.builder.lshr(fifths, self.whole(list(range(start, start + self.vector.count))))
            numbers = self.raised(numbers, self.builder.and_(own, self.same(1)), 4)
        return self.scaled(numbers, 0 if offset is not None else 1 << (int(self.code[1]) - 1), factor, offset)

    def large(self, start: int) -> ir.Value:
        """Returns weights of a block of 256, whose groups have scales of their own."""
        if self.code == "Q6_K":
            half, rest = divmod(start, 128)
            numbers = self.raised(self.bits(64 * half + rest % 64, 4 * (rest // 64), 15),
                                  self.bits(128 + 32 * half + rest % 32, 2 * (rest // 32), 3), 4)
            own = self.spread(f"factor {start // 16}", lambda: self.builder.fmul(self.half(208), self.builder.sitofp(
                self.at(192 + start // 16, BYTE), ir.FloatType())))
            return self.scaled(numbers, 32, own)
        group = start // 32
        first = 16 if self.code == "Q4_K" else 48
        numbers = self.bits(first + 32 * (group // 2) + start % 32, 4 * (group % 2), 15)
        if self.code == "Q5_K":
            numbers = self.raised(numbers, self.bits(16 + start % 32, group, 1), 4)
        factor = self.spread(f"scale {group}", lambda: self.small(group, "scale"))
        offset = self.spread(f"minimum {group}", lambda: self.small(group, "minimum"))
        return self.builder.fsub(self.builder.fmul(self.builder.sitofp(numbers, self.vector), factor), offset, flags=lanes.CONTRACT)

    def small(self, group: int, name: str) -> ir.Value:
        """Returns the scale or the minimum of a group, of 6 bits times a factor; see `scales_and_minima` of the block formats."""
        builder, first, factor = self.builder, *((4, 0) if name == "scale" else (8, 2))
        if group < 4:
            number = builder.and_(self.byte(first + group), WORD(63))
        else:
            rest = self.byte(12 + group - 4)
            low = builder.and_(rest, WORD(15)) if name == "scale" else builder.lshr(rest, WORD(4))
            number = builder.or_(low, builder.and_(builder.lshr(self.byte(first + group - 4), WORD(2)), WORD(48)))
        return builder.fmul(self.half(factor), builder.sitofp(number, ir.FloatType()))


def widened_half(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """Returns float16 numbers, given as their bits, as float32: one instruction where the machine has it."""
    features = cpu_features()
    many = bits.type.count if isinstance(bits.type, ir.VectorType) else None

    def kind(element: ir.Type) -> ir.Type:
        return element if many is None else ir.VectorType(element, many)

    def all_of(number: float, element: ir.Type) -> ir.Constant:
        return ir.Constant(kind(element), number if many is None else [number] * many)

    single = kind(ir.FloatType())
    if features.get("f16c") or features.get("neon"):
        return builder.fpext(builder.bitcast(bits, kind(ir.HalfType())), single)
    wide = builder.zext(bits, kind(WORD))
    size = builder.shl(builder.and_(wide, all_of(0x7FFF, WORD)), all_of(13, WORD))
    number = builder.fmul(builder.bitcast(size, single), all_of(EXPONENTS, ir.FloatType()))
    least = all_of(0x7C00 << 13, WORD)  # from here on the numbers are infinite or NaN
    special = builder.or_(size, all_of(0x7F800000, WORD))
    chosen = builder.select(builder.icmp_unsigned(">=", size, least), special, builder.bitcast(number, kind(WORD)))
    sign = builder.shl(builder.and_(wide, all_of(0x8000, WORD)), all_of(16, WORD))
    return builder.bitcast(builder.or_(chosen, sign), single)
