-- The tables of umbel's SQLite file. Times are milliseconds since 1970, UTC.

-- Queues that were ever used; messages refer to them by number.
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- Who holds leases. Numbers are never used twice, so a number is also the fence: whoever was reclaimed finds
-- none of its rows any more. expires is 0 when the owner has left, and its row stays only for what it held that
-- may not be delivered again.
CREATE TABLE owner (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    node TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    expires INTEGER NOT NULL
);
CREATE INDEX owner_node ON owner (node);

-- state: 0 ready, 1 scheduled (until due), 2 leased, 3 leased and not to be delivered again.
-- urgency is the negated priority, so that ascending order is the order of delivery.
-- seq is the time of arrival in microseconds, or one more than the last: it orders the messages that are here.
-- After many in one millisecond, or a clock that was set back, it may be one that a message had before which is
-- gone. lease is a number for each handing-over: a key names both, so it never means another message, nor a later
-- handing-over of the same. identity is the task id, a space and the tag of the publish; one index on it tells repeated
-- publishes and finds a task's messages. Ids and tags made by umbel begin with the time, so it grows at one end.
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    urgency INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due INTEGER,
    owner INTEGER,
    lease INTEGER NOT NULL DEFAULT 0,
    count INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    identity TEXT NOT NULL,
    headers TEXT NOT NULL,
    properties TEXT NOT NULL,
    content_type TEXT NOT NULL,
    content_encoding TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX message_ready ON message (queue, urgency, seq) WHERE state = 0;
CREATE INDEX message_due ON message (due) WHERE state = 1;
CREATE INDEX message_leased ON message (owner) WHERE state >= 2;
CREATE UNIQUE INDEX message_identity ON message (identity);

CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    urgency INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    reason TEXT NOT NULL,
    died INTEGER NOT NULL,
    expires INTEGER,
    identity TEXT NOT NULL,
    headers TEXT NOT NULL,
    properties TEXT NOT NULL,
    content_type TEXT NOT NULL,
    content_encoding TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX dead_letter_identity ON dead_letter (identity);
CREATE INDEX dead_letter_expires ON dead_letter (expires) WHERE expires IS NOT NULL;

-- document is Celery's result document.
CREATE TABLE result (
    task_id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    document TEXT NOT NULL,
    expires INTEGER
) WITHOUT ROWID;
CREATE INDEX result_expires ON result (expires) WHERE expires IS NOT NULL;

-- Which tasks a group has: Celery's document.
CREATE TABLE saved_group (
    group_id TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    expires INTEGER
) WITHOUT ROWID;
CREATE INDEX saved_group_expires ON saved_group (expires) WHERE expires IS NOT NULL;

-- Groups whose parts are counted: how many there will be (unknown at first), how many more were added, how many
-- are there, and who may close a complete one. A closed group is remembered for a time, without parts.
CREATE TABLE part_group (
    group_id TEXT PRIMARY KEY,
    size INTEGER,
    more INTEGER NOT NULL DEFAULT 0,
    count INTEGER NOT NULL DEFAULT 0,
    claimant TEXT,
    closed INTEGER NOT NULL DEFAULT 0,
    expires INTEGER
) WITHOUT ROWID;
CREATE INDEX part_group_expires ON part_group (expires) WHERE expires IS NOT NULL;
-- The calls that were added to a group after it was opened.
CREATE TABLE part_more (
    group_id TEXT NOT NULL,
    part TEXT NOT NULL,
    PRIMARY KEY (group_id, part)
) WITHOUT ROWID;
-- The outcomes of a group's calls, by their places; those without one have a place behind all others.
CREATE TABLE part (
    group_id TEXT NOT NULL,
    place INTEGER NOT NULL,
    part TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (group_id, place, part)
) WITHOUT ROWID;

-- Who waits for what: a datagram to the port wakes it. The row of a queue's waiter goes when it is woken, all rows
-- of an owner go with the owner. since is when it last said that it waits; what is old is swept away.
CREATE TABLE listener (
    topic TEXT NOT NULL,
    port INTEGER NOT NULL,
    owner INTEGER,
    since INTEGER NOT NULL,
    PRIMARY KEY (topic, port)
) WITHOUT ROWID;
CREATE INDEX listener_port ON listener (port);

CREATE TABLE hold (
    name TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    term INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;

-- version is that of the kind when the value was stored.
CREATE TABLE entry (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    expires INTEGER,
    version INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX entry_news ON entry (kind, version);
CREATE TABLE entry_version (
    kind TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE bucket (
    name TEXT PRIMARY KEY,
    tokens REAL NOT NULL,
    filled INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE broadcast (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    sent INTEGER NOT NULL
);
