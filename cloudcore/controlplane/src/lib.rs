//! The embedded, kubectl-compatible control plane.
