//! Pods of this node: workers, runtime, probes, volumes, status; and the node itself.
