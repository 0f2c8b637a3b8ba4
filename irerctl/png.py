"""A canvas of coloured points and the PNG file made of it: rectangles, lines, small letters, and nothing more.

Needs only zlib. Letters are drawn from a table of five rows of three points; what is not in it is left blank.
"""

import struct
import zlib

RGB = tuple[int, int, int]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIDE_MAX = 16_384
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71222",
    "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555",
    "O": "25552", "P": "65644", "Q": "25521", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552",
    "W": "55775", "X": "55255", "Y": "55222", "Z": "71247", ".": "00002", ",": "00024", "-": "00700", "+": "02720",
    "=": "07070", ":": "02020", "/": "11244", "|": "22222", "^": "25000", "_": "00007", "(": "12221", ")": "42224",
}  # fmt: skip
"""Five rows of a letter, each a number of three bits."""
LETTER_WIDTH, LETTER_HEIGHT, LETTER_STEP = 3, 5, 4


class Canvas:
    def __init__(self, width: int, height: int, background: RGB) -> None:
        if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
            raise ValueError(f"a picture of {width} by {height} points cannot be made: 1 to {SIDE_MAX} a side")
        self.width, self.height = width, height
        self._rows = [bytearray(bytes(background) * width) for _ in range(height)]

    def fill(self, x: int, y: int, width: int, height: int, colour: RGB) -> None:
        """A rectangle; what lies outside the canvas is left out."""
        left, right = max(x, 0), min(x + width, self.width)
        if right <= left:
            return
        piece = bytes(colour) * (right - left)
        for row in range(max(y, 0), min(y + height, self.height)):
            self._rows[row][3 * left : 3 * right] = piece

    def line(self, x0: int, y0: int, x1: int, y1: int, colour: RGB, thick: int = 1) -> None:
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            self.fill(x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps), thick, thick, colour)

    def text(self, x: int, y: int, text: str, colour: RGB, scale: int = 2) -> None:
        for place, letter in enumerate(text.upper()):
            for row, bits in enumerate(_GLYPHS.get(letter, "")):
                for column in range(LETTER_WIDTH):
                    if int(bits) >> (LETTER_WIDTH - 1 - column) & 1:
                        left = x + (place * LETTER_STEP + column) * scale
                        self.fill(left, y + row * scale, scale, scale, colour)

    def png(self) -> bytes:
        """The file: eight bits a colour, no transparency, every row as it is."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        rows = b"".join(b"\0" + row for row in self._rows)
        return SIGNATURE + _part(b"IHDR", header) + _part(b"IDAT", zlib.compress(rows, 6)) + _part(b"IEND", b"")


def text_width(text: str, scale: int = 2) -> int:
    return (len(text) * LETTER_STEP - 1) * scale if text else 0


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
