//! Task sets: every background task has a name, an owner, a restart policy and a proven end.
