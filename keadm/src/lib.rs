//! Sets up clouds and edges: init, join, reset, gettoken, version.
