"""Archives of torch.save that end with a SHA-256 of themselves, so that damage is noticed."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Any

import numpy as np
from torch import Tensor

# A file is what torch.save writes, a zip archive, with this and a SHA-256 of all before its digits
# as the archive's comment. So torch.load reads it as it is.
_MARK = b"sha256="
COMMENT_SIZE = len(_MARK) + 2 * hashlib.sha256().digest_size
# What takes longer to hash and to write than threads take to be told of it.
LARGE = 2**20


class Sealed:
    """A file that is hashed as it is written, and ends with the hash as its archive's comment.

    While this thread writes, one hashes what was written before and another sends it on to the
    disk, which would otherwise be two thirds of the time that saving takes. To be used as a
    context, which adds the comment at its end unless there was an error.

    Args:
        file: to write to.
        held: tensors on the CPU that stay as they are until the context ends. What is written from
            their memory is hashed there; of all else a copy is.
    """

    def __init__(self, file: IO[bytes], held: Iterable[Tensor]) -> None:
        self.error: OSError | None = None
        self._file = file
        self._sha256 = hashlib.sha256()
        self._held_back = b""
        self._unhashed = bytearray()  # small parts, until they are worth a thread's while
        self._hasher, self._sender = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._sending: Future[None] | None = None
        storages = (each.untyped_storage() for each in held)
        self._held = [(each.data_ptr(), each.data_ptr() + each.nbytes()) for each in storages]

    def __enter__(self) -> "Sealed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, traceback: TracebackType | None
    ) -> None:
        with self._hasher, self._sender:  # waits for them
            if kind is None:
                self._pass_on(COMMENT_SIZE.to_bytes(2, "little") + _MARK)
                self._hash_small_parts()
                digest = self._hasher.submit(self._sha256.hexdigest).result()
                self._file.write(digest.encode())
                # A failure to reach the disk is told once only: here, or to nobody.
                self._await_sending()

    def write(self, content: bytes | memoryview) -> int:
        # Two bytes are held back: an archive's last two are its comment's length, here 0.
        parts: list[bytes | memoryview] = [self._held_back, memoryview(content)]
        if len(content) < 2:
            parts = [self._held_back + content]
        self._held_back = bytes(parts[-1][-2:])
        parts[-1] = parts[-1][:-2]
        try:
            for part in parts:
                self._pass_on(part)
        except OSError as error:  # of which torch makes one that says nothing
            self.error = error
            raise
        return len(content)

    def flush(self) -> None:
        """For torch, which asks for it; what matters is flushed with the file."""

    def _pass_on(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        if len(content) < LARGE:
            self._unhashed += content
            if len(self._unhashed) < LARGE:
                return
            self._hash_small_parts()
        else:
            self._hash_small_parts()
            # What was not held may be gone when the thread comes to it.
            self._hash(content if self._is_held(content) else bytes(content))
        self._send()

    def _hash_small_parts(self) -> None:
        self._hash(bytes(self._unhashed))
        self._unhashed.clear()

    def _hash(self, content: bytes | memoryview) -> None:
        self._hasher.submit(self._sha256.update, content)

    def _is_held(self, content: bytes | memoryview) -> bool:
        first = np.frombuffer(content, np.uint8).ctypes.data
        return any(low <= first and first + len(content) <= high for low, high in self._held)

    def _send(self) -> None:
        if self._sending is None or self._sending.done():
            self._await_sending()
            self._sending = self._sender.submit(os.fsync, self._file.fileno())

    def _await_sending(self) -> None:
        if self._sending is not None:
            self._sending.result()


def fault_of(content: memoryview) -> str | None:
    """What is wrong with a file of these bytes, None if it is as it was written."""
    body, comment = content[:-COMMENT_SIZE], bytes(content[-COMMENT_SIZE:])
    if not comment.startswith(_MARK):
        return "cut short, or not a checkpoint of sar_codec (no checksum at its end)"
    sha256 = hashlib.sha256(body)
    sha256.update(_MARK)
    if sha256.hexdigest().encode() != comment.removeprefix(_MARK):
        return "damaged, its checksum is another"
    return None
