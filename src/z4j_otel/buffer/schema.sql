-- One buffer. PRAGMA user_version says which schema this is; see database.py.
CREATE TABLE entries (
    sequence   INTEGER PRIMARY KEY, -- rises by append order
    kind       INTEGER NOT NULL,    -- EntryKind
    created_ns INTEGER NOT NULL,
    body       BLOB    NOT NULL     -- canonical bytes, never encoded again
);

-- Where the reader of each journal stands, stored in the transaction of its records.
CREATE TABLE positions (
    journal  TEXT PRIMARY KEY,
    position TEXT NOT NULL
) WITHOUT ROWID;

-- Every loss, by kind and reason, for the life of the database.
CREATE TABLE dropped (
    kind   INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (kind, reason)
) WITHOUT ROWID;

-- Commands begun, and the results of those that ended: a redelivery is answered from here.
CREATE TABLE commands (
    command_key TEXT PRIMARY KEY,
    noted_ns    INTEGER NOT NULL,
    result      BLOB
);
CREATE INDEX commands_by_age ON commands (noted_ns);
