//! Short names for pod templates: the same template has the same, and another most likely another.
//!
//! Source of the form: Kubernetes v1.36 `pkg/controller/controller_utils.go` (`ComputeHash`) and `apimachinery/pkg/util/rand`
//! (`SafeEncodeString`). Kubernetes hashes Go's dump of the template; nothing depends on the value but equality.

use serde_json::Value;

/// Without vowels and look-alikes, so that no word comes out.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A document with its keys in order, so that equal documents have equal text.
pub(crate) fn canonical(document: &Value) -> Value {
    match document {
        Value::Object(map) => {
            let mut entries: Vec<_> =
                map.iter().map(|(key, value)| (key.clone(), canonical(value))).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// A hash of up to ten letters; `collisions` makes another one when a name is taken.
pub(crate) fn short(document: &Value, collisions: i32) -> String {
    let text = canonical(document).to_string();
    let extra = if collisions > 0 { collisions.to_le_bytes().to_vec() } else { Vec::new() };
    fnv32(text.bytes().chain(extra))
        .to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

/// FNV-1a with 32 bits.
pub(crate) fn fnv32(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_does_not_matter_and_collisions_do() {
        let (one, other) =
            (json!({"a": 1, "b": [{"c": 2, "d": 3}]}), json!({"b": [{"d": 3, "c": 2}], "a": 1}));
        assert_eq!(short(&one, 0), short(&other, 0));
        assert_ne!(short(&one, 0), short(&one, 1));
        assert_ne!(short(&one, 0), short(&json!({"a": 2}), 0));
        assert!(short(&one, 0).bytes().all(|letter| ALPHABET.contains(&letter)));
    }
}
