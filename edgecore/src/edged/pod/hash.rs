//! The kubelet's container hash (1.31 and newer), bit for bit: containers that a KubeEdge edgecore started are recognised
//! as up to date when a node is switched over, and not restarted.

use k8s_openapi::api::core::v1::Container;

/// Hash of the fields whose change means that a running container must be replaced.
pub fn of(container: &Container) -> String {
    let fields = serde_json::json!({
        "image": container.image.as_deref().unwrap_or_default(),
        "name": container.name,
    });
    // The kubelet hashes Go's debug print of the JSON's bytes.
    let bytes: Vec<String> = go_json(&fields.to_string()).bytes().map(|byte| byte.to_string()).collect();
    format!("{:x}", fnv1a(format!("([]uint8)[{}]", bytes.join(" ")).as_bytes()))
}

/// Go's encoder escapes these three for HTML's sake.
fn go_json(text: &str) -> String {
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_image_count() {
        let mut one = Container { name: "c".into(), image: Some("a:1".into()), ..Container::default() };
        let before = of(&one);
        one.args = Some(vec!["x".into()]);
        assert_eq!(of(&one), before);
        one.image = Some("a:2".into());
        assert_ne!(of(&one), before);
    }

    #[test]
    fn fnv_is_the_published_function() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }
}
