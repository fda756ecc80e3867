"""`python -m demo.upload BUCKET FOLDER` puts a folder's files into a bucket, `... --empty BUCKET PREFIX` removes what is there.

Run on the cluster's network, with the store's keys in the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import obstore
from obstore.store import S3Store


def upload(store: S3Store, folder: Path) -> int:
    """Every file below `folder` under its relative path; returns their number."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        obstore.put(store, path.relative_to(folder).as_posix(), path.read_bytes())
    return len(files)


def empty(store: S3Store, prefix: str) -> int:
    """Removes every object under a prefix; returns their number."""
    paths = [entry["path"] for batch in obstore.list(store, prefix) for entry in batch]
    for path in paths:
        obstore.delete(store, path)
    return len(paths)


def main() -> None:
    """What to do, bucket, and folder or prefix from the command line."""
    clear = sys.argv[1] == "--empty"
    bucket, what = sys.argv[2:] if clear else sys.argv[1:]
    store = S3Store(bucket, client_options={"allow_http": True})
    count = empty(store, what) if clear else upload(store, Path(what))
    print(f"{count} objects {'removed from' if clear else 'put into'} {bucket}")


if __name__ == "__main__":
    main()
