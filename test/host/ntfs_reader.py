"""What a program nobody here wrote finds on an NTFS volume: libfsntfs for files and their places, ntfsinfo for what
libfsntfs does not tell (the valid data length). Reads the image file of a disk; the array must have ended, or not yet
have been given the file.
"""
import collections
import io
import re
import shutil
import subprocess
import tempfile

import pyfsntfs

SPARSE = 0x1  # flag of libfsntfs' extents

# In blocks of the disk.
Extent = collections.namedtuple("Extent", "lba blocks")


class Window(io.RawIOBase):
    """A file from an offset on."""

    def __init__(self, file, start):
        super().__init__()
        self.file = file
        self.start = start
        self.at = 0

    def seek(self, offset, whence=io.SEEK_SET):
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at}.get(whence)
        self.at = self.file.seek(0, io.SEEK_END) - self.start + offset if base is None else base + offset
        return self.at

    def tell(self):
        return self.at

    def get_size(self):
        return self.file.seek(0, io.SEEK_END) - self.start

    def read(self, size=-1):
        self.file.seek(self.start + self.at)
        data = self.file.read(size)
        self.at += len(data)
        return data

    def readable(self):
        return True

    def seekable(self):
        return True


class NtfsReader:
    def __init__(self, image, first_byte, block):
        self.image = image
        self.first_byte = first_byte
        self.block = block
        self.file = open(image, "rb")  # pylint: disable=consider-using-with
        self.volume = pyfsntfs.volume()
        self.volume.open_file_object(Window(self.file, first_byte))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.volume.close()
        self.file.close()

    def entry(self, path):
        found = self.volume.get_file_entry_by_path("\\" + path.replace("/", "\\"))
        if found is None:
            raise AssertionError(f"{path}: not on {self.image}")
        return found

    def data(self, path, stream=""):
        entry = self.entry(path)
        where = entry.get_alternate_data_stream_by_name(stream) if stream else entry
        where.seek(0)
        return where.read(where.size) if where.size else b""

    def extents(self, path):
        """Of the unnamed data stream, in its order."""
        entry = self.entry(path)
        found = []
        for number in range(entry.number_of_extents):
            offset, size, flags = entry.get_extent(number)
            if flags & SPARSE:
                raise AssertionError(f"{path} has holes")
            found.append(Extent((self.first_byte + offset) // self.block, size // self.block))
        return found

    def blocks(self, extents):
        """What lies there."""
        found = b""
        for lba, count in extents:
            self.file.seek(lba * self.block)
            found += self.file.read(count * self.block)
        return found

    def record(self, path):
        """Where the file's record lies in $MFT."""
        number = self.entry(path).file_reference & 0xFFFFFFFFFFFF
        return self.record_at(number)

    def record_at(self, number):
        length = self.volume.mft_entry_size
        at = number * length
        table = self.volume.get_file_entry(0)
        for extent in range(table.number_of_extents):
            offset, size, _ = table.get_extent(extent)
            if at < size:
                return Extent((self.first_byte + offset + at) // self.block, max(1, length // self.block))
            at -= size
        raise AssertionError(f"no file record {number}")

    def sizes(self, path):
        """End of file and valid data length."""
        with tempfile.NamedTemporaryFile() as volume:
            self.file.seek(self.first_byte)
            shutil.copyfileobj(self.file, volume)
            volume.flush()
            done = subprocess.run(["ntfsinfo", "-f", "-v", "-F", path, volume.name], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, check=True)
        data = re.search(r"\$DATA \(0x80\).*", done.stdout, re.S).group()
        sizes = [re.search(rf"{name}:\s+(\d+)", data) for name in ("Data size", "Initialized size")]
        return tuple(int(size.group(1)) for size in sizes)
