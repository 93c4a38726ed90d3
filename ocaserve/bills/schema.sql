-- The tables of one month, in SQLite and in PostgreSQL alike.
CREATE TABLE life (
    month TEXT PRIMARY KEY, state TEXT NOT NULL, parties TEXT NOT NULL,
    closed_at BIGINT NOT NULL DEFAULT 0, accepted TEXT NOT NULL DEFAULT '',
    completeness TEXT NOT NULL DEFAULT '');
-- begun: the start of record 1. Record n starts n - 1 periods later.
CREATE TABLE chains (
    id BIGINT PRIMARY KEY, appliance TEXT NOT NULL, book TEXT NOT NULL,
    begun BIGINT NOT NULL, first_seq BIGINT NOT NULL, last_seq BIGINT NOT NULL,
    last_digest TEXT NOT NULL,
    held BIGINT NOT NULL, bytes BIGINT NOT NULL, late_bytes BIGINT NOT NULL,
    UNIQUE (appliance, book));
-- is_late: it came when the month was closed, so it is in entries, and not in samples.
CREATE TABLE records (
    chain BIGINT NOT NULL, seq BIGINT NOT NULL, start BIGINT NOT NULL, total BIGINT NOT NULL,
    is_late BIGINT NOT NULL, site TEXT NOT NULL, prev TEXT NOT NULL, digest TEXT NOT NULL,
    networks TEXT NOT NULL, PRIMARY KEY (chain, seq));
CREATE INDEX records_start ON records (start);
-- Bytes of the twelve periods of an hour.
CREATE TABLE samples (
    hour BIGINT NOT NULL, party TEXT NOT NULL,
    s0 BIGINT NOT NULL, s1 BIGINT NOT NULL, s2 BIGINT NOT NULL, s3 BIGINT NOT NULL,
    s4 BIGINT NOT NULL, s5 BIGINT NOT NULL, s6 BIGINT NOT NULL, s7 BIGINT NOT NULL,
    s8 BIGINT NOT NULL, s9 BIGINT NOT NULL, s10 BIGINT NOT NULL, s11 BIGINT NOT NULL,
    PRIMARY KEY (hour, party));
-- Corrections of this month, each on the bill of a later one. start: none where no period is meant.
CREATE TABLE entries (
    reference TEXT NOT NULL, party TEXT NOT NULL, start BIGINT, bytes BIGINT NOT NULL,
    reason TEXT NOT NULL, billed_in TEXT NOT NULL, entered_at BIGINT NOT NULL,
    PRIMARY KEY (reference, party));
CREATE TABLE parked (
    appliance TEXT NOT NULL, book TEXT NOT NULL, seq BIGINT NOT NULL, digest TEXT NOT NULL,
    why TEXT NOT NULL, record TEXT NOT NULL, parked_at BIGINT NOT NULL,
    PRIMARY KEY (appliance, book, seq, digest));
CREATE TABLE bills (party TEXT PRIMARY KEY, document TEXT NOT NULL);
