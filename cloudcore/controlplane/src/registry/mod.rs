//! One descriptor per kind: names, scope, defaults, validation, strategy.
