//! The functions of the language: CEL's own, its extensions for strings, and Kubernetes' libraries for lists, regular expressions,
//! URLs, quantities, addresses and sets (Kubernetes v1.36 apiserver/pkg/cel/library).

mod lists;
mod names;
mod net;
mod quantity;
mod text;

pub(super) use names::{NAMESPACES, is_known};

use std::sync::{Arc, LazyLock};

use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError, Value as Cel, extensions};

/// What all rules are compiled for.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    for library in [extensions::strings, text::library, lists::library, net::library, quantity::library] {
        if let Err(error) = env.add_extension(library) {
            // Two libraries with the same function: the tests use one function of each.
            tracing::error!("a library of validation rules cannot be used: {error}");
        }
    }
    Arc::new(env)
});

/// Go's notation: `1h30m`. None when it is not that, or too long for the language.
pub(super) fn duration(text: &str) -> Option<chrono::Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(chrono::Duration::zero());
    }
    let mut nanos = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("h", 3.6e12),
            ("m", 6e10),
            ("s", 1e9),
        ];
        let (tail, scale) = units.iter().find_map(|(unit, scale)| Some((tail.strip_prefix(unit)?, scale)))?;
        nanos += number * scale;
        rest = tail;
    }
    let signed = if negative { -nanos } else { nanos };
    (signed.abs() < 9.2e18).then(|| chrono::Duration::nanoseconds(signed as i64))
}

/// An argument as an owned value.
fn owned(value: &dyn Val) -> Result<Cel, ExecutionError> {
    Cel::try_from(value)
}

/// A result.
fn made<'b, 'v>(value: Cel) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value: Box<dyn Val> = value.try_into()?;
    Ok(CowVal::Owned(value))
}

/// The result of registering a library.
type Registered = Result<(), DeclarationError>;
