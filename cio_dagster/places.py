"""Where the state's files are: in local folders, or below a prefix of an object store (S3, Google Cloud Storage, Azure Blob Storage).

A place is a `Path`, or a `StorePath`, which has as much of its ways as the state needs. What the two do differently is here, and in
`cio_dagster.lock`. Credentials of object stores are those of the environment, as Delta Lake and Polars find them: AWS_*, GOOGLE_*, AZURE_*,
or what the machine itself is given.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig

T = TypeVar("T")
R = TypeVar("R")

SCHEMES = ("s3", "gs", "az")
"""Of the object stores in which a state can be."""

TRANSFERS, PARTS = 8, 2
"""Files that are read or copied at a time, and parts of one, of 5 MB each, that are sent at a time."""

TIMEOUT, QUICK = timedelta(minutes=2), timedelta(seconds=10)
"""How long a request may take; and one of which locks and answers are made, for which nobody can wait long."""

PIECE = 16_000_000
"""Bytes of a file that are read by one request, so that none takes longer than that, however large the file is."""

SMALL = 1_000_000
"""Bytes that are written as quickly."""

CLIENT = ("allow_http", "allow_invalid_certificates", "proxy_url", "proxy_ca_certificate", "proxy_excludes")
"""What the environment may say of how stores are reached, as in AWS_ALLOW_HTTP."""

RETRIES: RetryConfig = {
    "max_retries": 20,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 3},
    "retry_timeout": timedelta(seconds=30),
}
"""How long a store that fails is tried. By default that is not three seconds."""


class StoreError(OSError):
    """An object store refused, failed, or could not be reached. Its text says why, and what to do."""


@dataclass(frozen=True)
class StorePath:
    """A place in an object store, by its URL. Stores have no folders: a folder is whatever has objects below it.

    Methods are those of `pathlib.Path`. They raise FileNotFoundError, or StoreError with the store's own words.
    """

    url: str

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(f"{self.url.rstrip('/')}/{name}") if name else self

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> StorePath:
        """The place without its last part."""
        return StorePath(self.url.rpartition("/")[0])

    @property
    def key(self) -> str:
        """What the store calls it."""
        return self.url.split("/", 3)[3]

    @property
    def store(self) -> ObjectStore:
        """The bucket, or container."""
        return self._store(TIMEOUT)

    def _store(self, timeout: timedelta) -> ObjectStore:
        return _bucket("/".join(self.url.split("/", 3)[:3]), timeout)

    def read_bytes(self) -> bytes:
        """The object's content."""
        with _told():
            return bytes(self.store.get(self.key).bytes())

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object. Not all stores say that it was not there."""
        try:
            with _told():
                self.store.delete(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def put(self, content: bytes | Path) -> None:
        """Write the object whole, from memory or from a file."""
        quick = isinstance(content, bytes) and len(content) <= SMALL
        with _told():
            self._store(QUICK if quick else TIMEOUT).put(self.key, content, max_concurrency=PARTS)

    def put_if(self, content: bytes, mode: Any) -> dict[str, str] | None:
        """Write the object only over the version `mode`, or only where there is none ("create"); return its version, None where it is not so.

        No two writes may be of the same content: one whose answer was lost is tried again, meets itself, and counts.
        """
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with _told():
                # S3 knows no conditions on uploads in parts.
                return _version(self._store(QUICK).put(self.key, content, mode=mode, use_multipart=False))
        except (AlreadyExistsError, PreconditionError):
            found, version = self.read_version() or (b"", {})
            return version if found == content else None

    def read_version(self) -> tuple[bytes, dict[str, str]] | None:
        """The content, and the version as `put_if` takes it; None where there is no object."""
        try:
            with _told():
                found = self._store(QUICK).get(self.key)
                return bytes(found.bytes()), _version(found.meta)
        except FileNotFoundError:
            return None


def _version(said: Mapping[str, Any]) -> dict[str, str]:
    return {name: said[name] for name in ("e_tag", "version") if said.get(name) is not None}


Place: TypeAlias = "Path | StorePath"


@lru_cache
def _bucket(url: str, timeout: timedelta) -> ObjectStore:
    from obstore.store import from_url

    # What is given replaces what the environment says of the client.
    prefix = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}[url.partition("://")[0]]
    said = {name: os.environ[key] for name in CLIENT if (key := f"{prefix}_{name.upper()}") in os.environ}
    options: Any = said | {"timeout": timeout}
    return from_url(url, client_options=options, retry_config=RETRIES)


@contextmanager
def _told() -> Iterator[None]:
    """Say an object store's errors as this module's."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except (BaseError, FileNotFoundError) as error:
        missing = isinstance(error, FileNotFoundError) and not _NO_BUCKET.search(str(error))
        raise (FileNotFoundError if missing else StoreError)(reason(error)) from None


_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")
_REFUSED = re.compile(r"40[13] \w+|privileges|[Uu]nauthenticated|credential")


def reason(error: BaseException) -> str:
    """An error's text, without the queries of URLs, of which signatures may be part, and without what is for those who debug clients of stores."""
    text = str(error).partition("\n\nDebug source:")[0]
    text = re.sub(r"\x1b\[\d*m", "", re.sub(r"(\w+://[^\s?]+)\?\S+", r"\1", text))
    text = re.sub(
        r"(?s)(?:<\?xml[^>]*>\s*)?<Error>.*?<Code>(.*?)</Code>\s*<Message>(.*?)</Message>.*?</Error>", r"\1, \2", text
    )
    return " ".join(text.split())


def remedy(said: str) -> str:
    """What to do about an error of a store."""
    if _NO_BUCKET.search(said):
        return "There is no such bucket: make it, or correct CIO_STATE"
    if _REFUSED.search(said):
        return "Check the store's credentials in the environment, and that they may list, read, write and delete there"
    return "Run it again once it can be reached"


def is_folder(place: Place) -> bool:
    """Whether there is such a folder; in an object store, anything below the place."""
    return any(True for _ in _listed(place)) if isinstance(place, StorePath) else place.is_dir()


def folders(place: Place) -> list[str]:
    """The names of the folders in a place, sorted; none where there is no such place."""
    if isinstance(place, StorePath):
        with _told():
            found = place.store.list_with_delimiter(f"{place.key}/")["common_prefixes"]
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)
    return sorted(each.name for each in place.iterdir() if each.is_dir()) if place.is_dir() else []


def sizes(place: Place) -> dict[str, int]:
    """The files anywhere below a place, by their names from there, with their bytes."""
    if isinstance(place, StorePath):
        return {key[len(place.key) + 1 :]: size for key, size in _listed(place)}
    return {each.relative_to(place).as_posix(): each.stat().st_size for each in place.rglob("*") if each.is_file()}


def size(place: Place) -> int:
    """The bytes of a file."""
    if isinstance(place, StorePath):
        with _told():
            return place.store.head(place.key)["size"]
    return place.stat().st_size


def _listed(place: StorePath) -> Iterator[tuple[str, int]]:
    with _told():
        for page in place.store.list(f"{place.key}/"):
            yield from ((each["path"], each["size"]) for each in page)


def make_folders(root: Place, folder: Place) -> None:
    """Make a folder below a root, and those between, each its owner's alone."""
    if isinstance(root, Path) and isinstance(folder, Path):
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in [*reversed(folder.relative_to(root).parents), folder.relative_to(root)]:
            (root / part).mkdir(exist_ok=True, mode=0o700)


def read(place: Place) -> bytes | None:
    """A file's content; None where there is none."""
    try:
        return place.read_bytes()
    except FileNotFoundError:
        return None


def replace(place: Place, content: str | bytes) -> None:
    """Write a file whole, or leave the one that was there."""
    content = content.encode() if isinstance(content, str) else content
    if isinstance(place, StorePath):
        place.put(content)
        return
    partial = place.with_suffix(place.suffix + ".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(place)
    sync(place.parent)


def remove(place: Place) -> None:
    """Remove what is below a place, if anything is."""
    if isinstance(place, StorePath):
        with _told():
            place.store.delete([key for key, _ in _listed(place)])
    elif place.exists():
        shutil.rmtree(place)


def move(place: Place, target: Place, last: str) -> None:
    """Move a folder. In an object store it is copied first, and of what is then removed one file is the last: the lock."""
    if isinstance(place, StorePath) and isinstance(target, StorePath):
        source, goal = place, target
        names = [name for name in sizes(source) if name != last]
        at_once(lambda name: _copy(source / name, goal / name), names)
        with _told():
            source.store.delete([(source / name).key for name in names])
        (source / last).unlink(missing_ok=True)
    elif isinstance(place, Path) and isinstance(target, Path):
        place.rename(target)
        (target / last).unlink(missing_ok=True)


def upload(folder: Path, place: StorePath, but: str) -> None:
    """Copy the files of a folder, but for one."""
    at_once(lambda name: (place / name).put(folder / name), [each.name for each in folder.iterdir() if each.name != but])


def download(place: StorePath, folder: Path) -> None:
    """Copy the files of a place into a folder, made anew, its owner's alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    at_once(lambda file: _fetch(place / file[0], folder / file[0], file[1]), sizes(place).items())


def _copy(place: StorePath, target: StorePath) -> None:
    with _told():
        place.store.copy(place.key, target.key)


def _fetch(place: StorePath, path: Path, size: int) -> None:
    with _told(), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        for start in range(0, size, PIECE):
            file.write(place.store.get_range(place.key, start=start, length=min(PIECE, size - start)))


def at_once(do: Callable[[T], R], to: Iterable[T]) -> list[R]:
    """Do something to each, to several at a time: in an object store, whoever does it waits for answers most of the time."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(TRANSFERS) as pool:
        return list(pool.map(do, to))


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def flushed(place: Place) -> Iterator[None]:
    """Make what becomes new in a folder its owner's alone, and have it on disk: Delta leaves both to the system, but the plan goes after it."""
    before = set(place.rglob("*")) if isinstance(place, Path) else set()
    yield
    if isinstance(place, Path):
        new = [path for path in place.rglob("*") if path not in before]
        for path in new:
            path.chmod(0o700 if path.is_dir() else 0o600)
        for path in {*new, *(each.parent for each in new)}:
            sync(path)
