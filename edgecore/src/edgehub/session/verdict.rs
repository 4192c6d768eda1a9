//! What an answer says about a report.

use proto::answer;
use proto::message::{Message, Operation};
use proto::resource::ResourceKind;
use proto::session::Outcome;

/// Whether the cloud took a report about `kind`, will never take it, or may take it later.
pub(super) fn of(kind: Option<&ResourceKind>, answer: &Message) -> Outcome {
    if answer.route.operation == Operation::Error {
        let reason = answer.content.as_str().unwrap_or_default().into_owned();
        return Outcome::Retry(reason);
    }
    let status = match answer::parse(&answer.content) {
        Ok(_) => return Outcome::Done,
        Err(status) => status,
    };
    let about_node =
        matches!(kind, Some(ResourceKind::Node | ResourceKind::NodePatch | ResourceKind::NodeStatus));
    let lasting = match status.code {
        // The node registers itself anew; its status then finds it.
        404 | 409 => !about_node,
        400 | 403 | 405 | 410 | 413 | 415 | 422 => true,
        _ => false,
    };
    if lasting { Outcome::Rejected(status.message) } else { Outcome::Retry(status.message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::message::{Content, Group, Route, Source};

    fn answer(operation: Operation, content: &str) -> Message {
        let route =
            Route::new(Source::EdgeController, Group::Resource, operation, "default/podpatch/web".into());
        Message::new(route, Content::from_json_text(content.into()).unwrap())
    }

    #[test]
    fn answers_of_every_shape_are_understood() {
        let pod = Some(&ResourceKind::PodPatch);
        let node = Some(&ResourceKind::NodePatch);
        let gone = r#"{"Object":null,"Err":{"ErrStatus":{"status":"Failure","message":"not found","reason":"NotFound","code":404}}}"#;
        let busy = r#"{"Object":null,"Err":{"ErrStatus":{"status":"Failure","message":"busy","reason":"TooManyRequests","code":429}}}"#;
        let response = |content| answer(Operation::Response, content);
        assert_eq!(of(pod, &response(r#"{"Object":{"metadata":{}},"Err":null}"#)), Outcome::Done);
        assert_eq!(of(pod, &response(r#""OK""#)), Outcome::Done);
        assert_eq!(of(pod, &response(gone)), Outcome::Rejected("not found".into()));
        assert_eq!(of(node, &response(gone)), Outcome::Retry("not found".into()));
        assert_eq!(of(pod, &response(busy)), Outcome::Retry("busy".into()));
        assert!(matches!(of(pod, &response(r#"{"Object":null,"Err":{}}"#)), Outcome::Retry(_)));
        assert_eq!(of(pod, &answer(Operation::Error, r#""later""#)), Outcome::Retry("later".into()));
    }
}
