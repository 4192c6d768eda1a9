//! SQLite: revisions, optimistic concurrency, watch history.
