"""The tables of the projection. A file of another version is thrown away and made anew."""

from __future__ import annotations

SCHEMA_VERSION = 1
"""Raised with every change of a table, or of what a column means."""

LOG_NONE, LOG_OPEN, LOG_CLOSED, LOG_MARK = 0, 1, 2, 3
"""What the changelog says of a case last: nothing, whole and open, whole and closed, a mark."""

MINUTE_S, HOUR_S = 60, 3600
"""The spans that tallies are kept for."""

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (
    topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE identities (topic TEXT PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE cases (
    id INTEGER PRIMARY KEY, case_id TEXT NOT NULL UNIQUE, log INTEGER NOT NULL,
    status TEXT NOT NULL, workflow TEXT, tenant TEXT, subject TEXT, type TEXT, opened INTEGER,
    closed INTEGER, nanousd INTEGER, confidence REAL, degraded INTEGER, updated INTEGER NOT NULL
);
CREATE INDEX cases_opened ON cases (opened);
CREATE INDEX cases_open ON cases (opened) WHERE log = 1;
CREATE INDEX cases_odd ON cases (status, opened) WHERE log <> 1 AND status <> 'completed';
CREATE INDEX cases_tenant ON cases (tenant, opened) WHERE tenant IS NOT NULL;
CREATE TABLE bodies (
    id INTEGER PRIMARY KEY, state BLOB, result BLOB, amended BLOB, moments BLOB
);
CREATE TABLE parts (
    case_id TEXT, name TEXT, value BLOB NOT NULL, PRIMARY KEY (case_id, name)
) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE changes (last INTEGER PRIMARY KEY, case_ids TEXT NOT NULL);

CREATE TABLE approvals (
    approval_id TEXT PRIMARY KEY, case_id TEXT NOT NULL, tenant TEXT, status TEXT NOT NULL,
    asked INTEGER NOT NULL, expires INTEGER NOT NULL, request BLOB NOT NULL, by TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX approvals_asked ON approvals (asked);
CREATE INDEX approvals_open ON approvals (asked) WHERE status = 'open';
CREATE INDEX approvals_case ON approvals (case_id);

CREATE TABLE letters (
    id INTEGER PRIMARY KEY, place TEXT NOT NULL UNIQUE, topic TEXT NOT NULL, agent TEXT,
    reason TEXT NOT NULL, error TEXT NOT NULL, at INTEGER NOT NULL, case_id TEXT, task_id TEXT,
    tenant TEXT, attempts INTEGER NOT NULL, replays INTEGER NOT NULL, size INTEGER NOT NULL
);
CREATE INDEX letters_at ON letters (at);
CREATE INDEX letters_case ON letters (case_id) WHERE case_id IS NOT NULL;
CREATE TABLE handled (
    place TEXT PRIMARY KEY, action TEXT NOT NULL, at INTEGER NOT NULL, by TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE feedback (
    feedback_id TEXT PRIMARY KEY, case_id TEXT NOT NULL, at INTEGER NOT NULL, value BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX feedback_case ON feedback (case_id, at);
CREATE TABLE control (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE seconds (
    at INTEGER PRIMARY KEY, opened INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE tally (
    span INTEGER, at INTEGER, kind TEXT, name TEXT, n INTEGER NOT NULL, failed INTEGER NOT NULL,
    nanousd INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL,
    calls INTEGER NOT NULL, PRIMARY KEY (span, at, kind, name)
) WITHOUT ROWID;
CREATE TABLE latency (
    at INTEGER, kind TEXT, name TEXT, bucket INTEGER, n INTEGER NOT NULL,
    PRIMARY KEY (at, kind, name, bucket)
) WITHOUT ROWID;
"""
