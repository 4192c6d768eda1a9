use serde_json::{Map, Value};

use super::{Assignment, Segment, SetError};

impl Assignment {
    /// Lays this over `document`. Keys match whatever their letter case, as KubeEdge reads them (`Modules` is
    /// `modules`); a list that is not in the document yet begins as it is in `defaults`.
    pub(crate) fn apply(&self, document: &mut Value, defaults: &Value) -> Result<(), SetError> {
        let mut place = document;
        let mut known = Some(defaults);
        for (depth, segment) in self.path.iter().enumerate() {
            let next_is_index = matches!(self.path.get(depth + 1), Some(Segment::Index(_)));
            match segment {
                Segment::Key(name) => {
                    if place.is_null() {
                        *place = Value::Object(Map::new());
                    }
                    let map = place.as_object_mut().ok_or_else(|| self.not_a_container(depth))?;
                    let spelled = known.and_then(|known| spelling(known.as_object()?, name));
                    let key = spelling(map, name).or(spelled).unwrap_or_else(|| name.clone());
                    known = known.and_then(|known| known.get(&key));
                    place = map.entry(key).or_insert(Value::Null);
                    if next_is_index && place.is_null() {
                        *place = known
                            .filter(|known| known.is_array())
                            .cloned()
                            .unwrap_or_else(|| Value::Array(Vec::new()));
                    }
                }
                Segment::Index(index) => {
                    let list = place.as_array_mut().ok_or_else(|| self.not_a_container(depth))?;
                    if *index > list.len() {
                        return Err(SetError::Hole(self.text.clone(), list.len()));
                    }
                    if *index == list.len() {
                        list.push(if next_is_index { Value::Array(Vec::new()) } else { Value::Null });
                    }
                    known = known.and_then(|known| known.get(index));
                    place = &mut list[*index];
                }
            }
        }
        *place = self.value.clone();
        Ok(())
    }

    fn not_a_container(&self, depth: usize) -> SetError {
        let parent = match depth.checked_sub(1).map(|at| &self.path[at]) {
            Some(Segment::Key(name)) => name.clone(),
            Some(Segment::Index(index)) => format!("[{index}]"),
            None => "the document".to_owned(),
        };
        SetError::NotAContainer(self.text.clone(), parent)
    }
}

/// How `map` spells the key `name`.
fn spelling(map: &Map<String, Value>, name: &str) -> Option<String> {
    if map.contains_key(name) {
        return Some(name.to_owned());
    }
    map.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::parse, *};

    fn applied(argument: &str) -> Result<Value, SetError> {
        let mut document = json!({"modules": {"edged": {"hostnameOverride": "a"}}});
        let defaults = json!({
            "modules": {"edged": {"hostnameOverride": "", "names": ["x", "y"]}, "edgeStream": {"enable": false}}
        });
        for assignment in parse(argument)? {
            assignment.apply(&mut document, &defaults)?;
        }
        Ok(document)
    }

    #[test]
    fn what_is_not_in_the_document_is_added() {
        let document = applied("modules.edgeStream.enable=true").unwrap();
        assert_eq!(document["modules"]["edgeStream"]["enable"], json!(true));
        assert_eq!(document["modules"]["edged"]["hostnameOverride"], json!("a"));
    }

    #[test]
    fn go_field_names_find_the_keys_they_mean() {
        let document = applied("Modules.Edged.HostnameOverride=b,Modules.EdgeStream.Enable=true").unwrap();
        assert_eq!(
            document,
            json!({"modules": {"edged": {"hostnameOverride": "b"}, "edgeStream": {"enable": true}}})
        );
    }

    #[test]
    fn list_entries_are_replaced_or_appended_to_the_default_list() {
        let document = applied("modules.edged.names[1]=z,modules.edged.names[2]=end").unwrap();
        assert_eq!(document["modules"]["edged"]["names"], json!(["x", "z", "end"]));
        let document = applied("modules.edged.taints[0].key=edge").unwrap();
        assert_eq!(document["modules"]["edged"]["taints"], json!([{"key": "edge"}]));
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        let plain = applied("modules.edged.hostnameOverride.x=1").unwrap_err();
        assert!(plain.to_string().contains("hostnameOverride is a plain value"), "{plain}");
        assert_eq!(applied("a[1]=1"), Err(SetError::Hole("a[1]".to_owned(), 0)));
    }
}
