//! The tables of edgecore.db.

/// See [`sqlite::Options::steps`].
pub(super) const STEPS: &[&str] = &["
CREATE TABLE objects (
    key TEXT PRIMARY KEY NOT NULL,      -- as on the wire: <namespace>/<type>/<name>
    kind TEXT NOT NULL,
    uid TEXT NOT NULL,
    resource_version TEXT NOT NULL,
    created TEXT NOT NULL,
    json TEXT NOT NULL                  -- the cloud's text, untouched
);
CREATE INDEX objects_by_kind ON objects (kind);

-- What this node has to tell. A row is ahead while version > confirmed.
CREATE TABLE reports (
    row TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,                 -- pod, gone, node, event
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    uid TEXT NOT NULL,
    version INTEGER NOT NULL,
    confirmed INTEGER NOT NULL DEFAULT 0,
    changed_ms INTEGER NOT NULL,
    payload TEXT NOT NULL
);
CREATE INDEX reports_ahead ON reports (version) WHERE version > confirmed;

-- Service account tokens, so that a pod can restart while the cloud is away.
CREATE TABLE tokens (
    key TEXT PRIMARY KEY NOT NULL,      -- namespace, account and request
    pod_uid TEXT NOT NULL,
    refresh_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    json TEXT NOT NULL
);
"];
