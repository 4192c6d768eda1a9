//! The cloud agent: sessions with edge nodes beside a Kubernetes API.
