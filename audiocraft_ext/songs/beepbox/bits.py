"""The digits of BeepBox's URLs: six bits each, and fields of bits that run on over them."""

from __future__ import annotations

from audiocraft_ext.core.errors import UserError

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
VALUES = {digit: value for value, digit in enumerate(DIGITS)} | {".": 62}  # older URLs have a dot for the dash
CUT = "ends early: it was cut off, or is no song's"


class Reader:
    """Goes through bits of six a digit."""

    def __init__(self, digits: list[int]):
        self._bits = "".join(f"{digit:06b}" for digit in digits)
        self._at = 0

    def read(self, bits: int) -> int:
        """A number of so many bits.

        Raises:
            UserError: there are no more.
        """
        end = self._at + bits
        if end > len(self._bits):
            raise UserError(CUT)
        found = int(self._bits[self._at : end], 2) if bits else 0
        self._at = end
        return found

    def tail(self, least: int, bits: int) -> int:
        """A number from ``least`` on: a 1 for each further bit, a 0, the bits."""
        value = least
        while self.read(1):
            value += 1 << bits
            bits += 1
            if bits > 32:
                raise UserError("has a number that no song has")
        return value + self.read(bits)

    def interval(self) -> int:
        """A sign and a number from 1 on."""
        sign = self.read(1)
        return -self.tail(1, 3) if sign else self.tail(1, 3)


class Writer:
    """Collects bits."""

    def __init__(self) -> None:
        self.bits: list[str] = []

    def write(self, bits: int, value: int) -> None:
        if bits:
            self.bits.append(f"{value:0{bits}b}")

    def tail(self, least: int, bits: int, value: int) -> None:
        """As :meth:`Reader.tail` reads it."""
        value -= least
        while value >= 1 << bits:
            self.bits.append("1")
            value -= 1 << bits
            bits += 1
        self.bits.append("0")
        self.write(bits, value)

    def interval(self, value: int) -> None:
        """As :meth:`Reader.interval` reads it; not 0."""
        self.write(1, value < 0)
        self.tail(1, 3, abs(value))

    def digits(self) -> str:
        """All bits, filled up with zeros."""
        bits = "".join(self.bits)
        bits += "0" * (-len(bits) % 6)
        return "".join(DIGITS[int(bits[i : i + 6], 2)] for i in range(0, len(bits), 6))


def number(value: int) -> str:
    """Below 4096, as two digits."""
    return DIGITS[value >> 6] + DIGITS[value & 63]
