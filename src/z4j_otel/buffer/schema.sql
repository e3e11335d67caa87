-- One buffer. PRAGMA user_version says which schema this is; see database.py.
-- "carving" depends on the columns of these two tables, their order, and on a page of 4096
-- bytes: next to the record nothing in a row may have bytes of its own.
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY, -- rises by append order
    record   BLOB    NOT NULL,    -- header, checksum and canonical bytes; see records.py
    kind     INTEGER NOT NULL     -- EntryKind
);

-- One row: what is held, where the journals were read to, what was lost; see state.py.
CREATE TABLE state (
    sequence INTEGER PRIMARY KEY,
    record   BLOB    NOT NULL,
    kind     INTEGER NOT NULL
);

-- What the arbiter knows of each task, stored in the transaction of what it judged.
CREATE TABLE stories (
    turn INTEGER PRIMARY KEY, -- rises by order of touch
    task TEXT NOT NULL,       -- once; see stories.py
    body BLOB NOT NULL
);

-- Commands begun, and the results of those that ended: a redelivery is answered from here.
CREATE TABLE commands (
    command_key TEXT PRIMARY KEY,
    noted_ns    INTEGER NOT NULL,
    result      BLOB
);
CREATE INDEX commands_by_age ON commands (noted_ns);

-- What is counted beside the entries, by owner; see accounts.py.
CREATE TABLE accounts (
    turn  INTEGER PRIMARY KEY, -- rises by order of touch
    owner TEXT NOT NULL UNIQUE,
    body  BLOB NOT NULL
);
