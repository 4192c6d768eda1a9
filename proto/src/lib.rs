//! What crosses a border: messages, resource paths, framing, CRD types, identity and configuration files.
