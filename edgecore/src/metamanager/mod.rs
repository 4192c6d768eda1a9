//! The objects this node needs, in SQLite, on disk before they are acknowledged.
