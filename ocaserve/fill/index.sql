BEGIN IMMEDIATE;
-- What fill knows of objects that are here. `seen_ns` and `size` are the file's as it was last seen: a
-- file that has another time or size is another version, of which nothing is known.
CREATE TABLE IF NOT EXISTS held (
  key TEXT NOT NULL,
  store TEXT NOT NULL,
  size INTEGER NOT NULL,
  seen_ns INTEGER NOT NULL,
  sha256 TEXT NOT NULL DEFAULT '',
  is_ours INTEGER NOT NULL DEFAULT 0,
  since REAL NOT NULL,
  verified REAL,
  PRIMARY KEY (key, store)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS held_verified ON held (verified);
-- Objects that are being fetched, and which of their pieces are there and right: a bit each.
CREATE TABLE IF NOT EXISTS partial (
  id TEXT PRIMARY KEY,
  key TEXT NOT NULL,
  store TEXT NOT NULL,
  size INTEGER NOT NULL,
  piece_size INTEGER NOT NULL,
  done BLOB NOT NULL,
  since REAL NOT NULL,
  boot TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- Where the file system of a store was mounted when it was seen last: where nothing is mounted any more,
-- the disk is gone, and its place is no store.
CREATE TABLE IF NOT EXISTS store (
  name TEXT PRIMARY KEY,
  mount TEXT NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 2;
COMMIT;
