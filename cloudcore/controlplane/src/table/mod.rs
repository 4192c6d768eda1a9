//! Server-side tables: the columns that `kubectl get` prints.
