//! HTTP: verbs, watch, authentication, content negotiation.
