//! OpenAPI v3 documents, built on demand.
