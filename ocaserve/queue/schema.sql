-- A message is in one row; `at` (milliseconds since the epoch) is when it became ready, is due, comes
-- back, or was buried. Each state has an index of its own, so that one with a million rows costs the
-- others nothing.
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS queue (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  ready INTEGER NOT NULL DEFAULT 0,
  delayed INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  buried INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  redelivered INTEGER NOT NULL DEFAULT 0,
  buried_total INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS message (
  seq INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL,
  id TEXT NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  at INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0,
  max_tries INTEGER NOT NULL,
  body BLOB NOT NULL,
  reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS message_id ON message (queue, id);
CREATE INDEX IF NOT EXISTS message_ready ON message (queue, priority, at, seq) WHERE state = 0;
CREATE INDEX IF NOT EXISTS message_delayed ON message (queue, at) WHERE state = 1;
CREATE INDEX IF NOT EXISTS message_held ON message (queue, at) WHERE state = 2;
CREATE INDEX IF NOT EXISTS message_buried ON message (queue, at, seq) WHERE state = 3;
DROP INDEX IF EXISTS message_oldest; -- of version 1
PRAGMA user_version = 2;
COMMIT;
