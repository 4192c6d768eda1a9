//! The link to the cloud: bootstrap, connect, resume, send what the cloud has not confirmed.
