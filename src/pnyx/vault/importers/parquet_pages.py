"""What a Parquet file claims to become, read from its footer and pages before any is decompressed.

A few hundred bytes may claim gigabytes, in three ways: a page that decompresses to more than its
metadata says, text encodings that repeat what came before, and a long text that thousands of rows
name. `check_pages` refuses the first two; the third is for whoever reads the dictionary. Nor does
pyarrow tell of each chunk without risk: what is wrong in its statistics ends the whole process.

Structures are those of parquet.thrift in Thrift's compact protocol, read as strictly as pyarrow
reads them or more: a field of another kind than expected is passed over, and a field given twice,
or a number out of its range, is refused, so that both see the same file.
"""

from collections.abc import Iterator
from io import BufferedReader
from typing import Any, NamedTuple

from pnyx.errors import DataImportError

# Writers make pages of about 1 MiB; some put a whole group of 122,880 rows into one.
PAGE_BYTES_MAX = 64 * 1024 * 1024
FOOTER_BYTES_MAX = 2 * 1024 * 1024  # 4,096 columns with statistics and a schema of Arrow's fit
_HEADER_BYTES = 512
_HEADER_BYTES_MAX = 1024 * 1024  # the least and greatest text of a page are in its header
_PADDING_BYTES = 100  # that pyarrow reads past a chunk, for writers that counted wrong
_DEPTH_MAX = 16
_MAGIC = b"PAR1"

# What is read of a structure: its fields, each a kind, a structure or a list of one.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_Wanted = Any  # int | dict[int, _Wanted] | list[_Wanted], which mypy cannot say
_BITS = {_I16: 16, _I32: 32, _I64: 64}
_PAGE_HEADER: _Wanted = {1: _I32, 2: _I32, 3: _I32, 5: {1: _I32, 2: _I32}, 8: {1: _I32, 4: _I32}}
_DATA_PAGES = {0: (5, 2), 3: (8, 4)}  # by type: the field of its header, and in it the encoding
_CHUNK: _Wanted = {5: _I64, 6: _I64, 7: _I64, 9: _I64, 11: _I64}
_FOOTER: _Wanted = {4: [{1: [{3: _CHUNK}]}]}
_DELTA_LENGTH_BYTE_ARRAY, _DELTA_BYTE_ARRAY = 6, 7


class Chunk(NamedTuple):
    """Where the pages of a column lie in one group of rows, by the footer.

    column: which leaf of the schema. What the chunk calls itself is not read: it may lie, and
    pyarrow goes by its place, too.
    """

    column: int
    start: int
    length: int
    values: int
    expanded: int


def read_chunks(file: BufferedReader, name: str) -> list[Chunk]:
    """The chunks that the footer of a file names. Raises DataImportError."""
    size = file.seek(0, 2)
    file.seek(max(size - 8, 0))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if size < 12 or end[4:] != _MAGIC or length > size - 8:
        raise _invalid(name, "it does not end as one")
    if length > FOOTER_BYTES_MAX:
        raise DataImportError(
            f"{name} describes its columns in {length} bytes, above the limit of "
            f"{FOOTER_BYTES_MAX}; export it again with fewer columns or larger groups of rows."
        )
    file.seek(size - 8 - length)
    try:
        footer = _Compact(file.read(length)).struct(_FOOTER)
        return list(_chunks_of(footer))
    except (IndexError, KeyError, ValueError) as error:
        raise _invalid(name, "its footer cannot be read") from error


def _chunks_of(footer: dict[int, Any]) -> Iterator[Chunk]:
    for group in footer[4]:
        for column, each in enumerate(group[1]):
            chunk = each[3]
            start, dictionary = chunk[9], chunk.get(11, 0)
            if 0 < dictionary < start:
                start = dictionary
            found = Chunk(column, start, chunk[7], chunk[5], chunk[6])
            if min(found) < 0:
                raise ValueError("less than nothing")
            yield found


def check_pages(file: BufferedReader, name: str, chunk: Chunk) -> None:
    """Refuse a chunk with a page that would become too much. Raises DataImportError."""
    at, seen = chunk.start, 0
    # As pyarrow does: until all values were seen, and a little past the end.
    while seen < chunk.values and at < chunk.start + chunk.length + _PADDING_BYTES:
        found = _header_at(file, at)
        if found is None:
            raise _invalid(name, "a page has no header")
        header, header_bytes = found
        uncompressed, compressed = header[2], header[3]
        if uncompressed > PAGE_BYTES_MAX:
            raise DataImportError(
                f"{name} has a page of {uncompressed} bytes once decompressed, above the limit of "
                f"{PAGE_BYTES_MAX}; export it again with smaller pages."
            )
        if min(uncompressed, compressed) < 0:
            raise _invalid(name, "a page is smaller than nothing")
        field, encoding = _DATA_PAGES.get(header[1], (0, 0))
        data = header.get(field, {})
        if data.get(encoding) in (_DELTA_LENGTH_BYTE_ARRAY, _DELTA_BYTE_ARRAY):
            raise DataImportError(
                f"{name} has text in a delta encoding; export it again with plain or dictionary "
                "encoding."
            )
        seen += max(data.get(1, 0), 0)
        at += header_bytes + compressed


def _header_at(file: BufferedReader, at: int) -> tuple[dict[int, Any], int] | None:
    for size in (_HEADER_BYTES, _HEADER_BYTES_MAX):
        file.seek(at)
        compact = _Compact(file.read(size))
        try:
            header = compact.struct(_PAGE_HEADER)
            return (header, compact.at) if header.keys() >= {1, 2, 3} else None
        except IndexError:  # longer than what was read
            continue
        except ValueError:
            return None
    return None


def _invalid(name: str, reason: str) -> DataImportError:
    return DataImportError(f"{name} is not a valid Parquet file: {reason}; export it again.")


class _Compact:
    """Reads structures. Raises IndexError past the end, and ValueError for what is not allowed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, wanted: _Wanted, depth: int = 1) -> dict[int, Any]:
        """The fields of a structure that are wanted and of the kind that is."""
        if depth > _DEPTH_MAX:
            raise ValueError("nested too deeply")
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            kind = head & 0x0F
            field = field + (head >> 4) if head >> 4 else self._number(_I16)
            asked = wanted.get(field)
            if asked is not None and kind == _kind(asked):
                if field in found:
                    raise ValueError("a field is given twice")
                found[field] = self._value(kind, asked, depth)
            elif kind not in (_TRUE, _FALSE):  # whose value is their kind
                self._value(kind, None, depth)
        return found

    def _value(self, kind: int, asked: _Wanted, depth: int) -> Any:
        match kind:
            case 1 | 2 | 3:
                return self._taken(1)
            case 4 | 5 | 6:
                return self._number(kind)
            case 7:
                return self._taken(8)
            case 8:
                return self._taken(self._varint())
            case 9:
                return self._list(asked, depth)
            case 12:
                return self.struct(asked or {}, depth + 1)
        raise ValueError("a kind that Parquet does not use")

    def _list(self, asked: _Wanted, depth: int) -> list[Any]:
        head = self._byte()
        kind = head & 0x0F
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if asked is None:
            for _ in range(count):
                self._value(kind, None, depth + 1)
            return []
        if kind != _kind(asked[0]):
            raise ValueError("a list of something else")
        return [self._value(kind, asked[0], depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _taken(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self._data):
            raise IndexError
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError("a number without end")

    def _number(self, kind: int) -> int:
        zigzag = self._varint()
        number = zigzag >> 1 ^ -(zigzag & 1)
        if not -(1 << _BITS[kind] - 1) <= number < 1 << _BITS[kind] - 1:
            raise ValueError("a number out of its range")
        return number


def _kind(asked: _Wanted) -> int:
    if isinstance(asked, dict):
        return _STRUCT
    return _LIST if isinstance(asked, list) else int(asked)
