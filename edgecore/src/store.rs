//! How this agent opens a SQLite file: pragmas, a corrupt file moved aside, sizes kept small.
