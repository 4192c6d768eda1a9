//! What is asked about creations, changes and deletions, and about what is sent to subresources.

use serde_json::Value;

use super::question::{Operation, Question, as_it_is};
use crate::apiserver::call::Call;
use crate::apiserver::deletion::Deletion;
use crate::apiserver::objects::Part;
use crate::apiserver::subresources::{SCALE, scale_of, scaled};
use crate::apiserver::write::{Write, options_of};
use crate::apiserver::{Api, Target, admission};
use crate::status::Status;

impl Api {
    /// Lets webhooks change a new object. When they do, it is complete and says who owns what: whoever sent it, and for what the
    /// webhooks changed nobody.
    pub(in crate::apiserver) async fn mutate_new(
        &self,
        target: &Target,
        how: &Write,
        object: &mut Value,
    ) -> Result<bool, Status> {
        if !self.has_mutators(target) {
            return Ok(false);
        }
        let settle = |object: &mut Value| {
            target.resource.default(object);
            admission::fill(self, target, object)
        };
        let mut seen = object.clone();
        target.resource.default(&mut seen);
        how.own(target, None, &mut seen);
        admission::fill(self, target, &mut seen)?;
        let question = Question { settle: &settle, ..created(target, how) };
        let new = self.mutate(&question, Some(&seen)).await?;
        Ok(new.map(|new| *object = new).is_some())
    }

    /// Lets others refuse a new object.
    pub(in crate::apiserver) async fn judge_new(
        &self,
        target: &Target,
        how: &Write,
        object: &Value,
    ) -> Result<(), Status> {
        self.judge(&created(target, how), Some(object)).await
    }

    /// Lets webhooks change a changed object; as [`Api::mutate_new`].
    pub(in crate::apiserver) async fn mutate_changed(
        &self,
        target: &Target,
        part: Part,
        how: &Write,
        old: &Value,
        new: &mut Value,
    ) -> Result<bool, Status> {
        let Some(subresource) = through(part, how).filter(|_| self.has_mutators(target)) else {
            return Ok(false);
        };
        let resource = &target.resource;
        let changed = |old, settle| Question { settle, ..changed(target, how, subresource, old) };
        if subresource == SCALE {
            let (before, after) = (scale_of(resource, old), scale_of(resource, new));
            let question = changed(&before, &as_it_is);
            let Some(scale) = self.mutate(&question, Some(&after)).await? else { return Ok(false) };
            *new = scaled(resource, new, &scale)?;
            return Ok(false);
        }
        let settle = |object: &mut Value| {
            resource.default(object);
            Ok(())
        };
        let mut seen = new.clone();
        resource.default(&mut seen);
        how.own(target, Some(old), &mut seen);
        let mutated = self.mutate(&changed(old, &settle), Some(&seen)).await?;
        Ok(mutated.map(|mutated| *new = mutated).is_some())
    }

    /// Lets others refuse a changed object.
    pub(in crate::apiserver) async fn judge_changed(
        &self,
        target: &Target,
        part: Part,
        how: &Write,
        old: &Value,
        new: &Value,
    ) -> Result<(), Status> {
        let Some(subresource) = through(part, how).filter(|_| self.has_judges(target)) else { return Ok(()) };
        if subresource == SCALE {
            let (before, after) = (scale_of(&target.resource, old), scale_of(&target.resource, new));
            return self.judge(&changed(target, how, subresource, &before), Some(&after)).await;
        }
        self.judge(&changed(target, how, subresource, old), Some(new)).await
    }

    /// Lets others refuse a deletion.
    pub(in crate::apiserver) async fn ask_to_remove(
        &self,
        target: &Target,
        how: &Deletion,
        old: &Value,
    ) -> Result<(), Status> {
        if how.is_settled {
            return Ok(());
        }
        let question = Question {
            target,
            operation: Operation::Delete,
            subresource: "",
            old: Some(old),
            options: &how.options,
            dry_run: how.dry_run,
            settle: &as_it_is,
        };
        self.mutate(&question, None).await?;
        self.judge(&question, None).await
    }

    /// Lets others change or refuse what a client sent to a subresource, or asks to be connected to.
    pub(in crate::apiserver) async fn ask_about_body(
        &self,
        call: &Call,
        operation: Operation,
        subresource: &str,
        dry_run: bool,
        body: &mut Value,
    ) -> Result<(), Status> {
        if !self.has_hooks(&call.target) {
            return Ok(());
        }
        let options = options_of(call);
        let target = &call.target;
        let settle = &as_it_is;
        let question =
            Question { target, operation, subresource, old: None, options: &options, dry_run, settle };
        if let Some(new) = self.mutate(&question, Some(body)).await? {
            *body = new;
        }
        self.judge(&question, Some(body)).await
    }
}

fn created<'a>(target: &'a Target, how: &'a Write) -> Question<'a> {
    Question {
        target,
        operation: Operation::Create,
        subresource: "",
        old: None,
        options: &how.options,
        dry_run: how.dry_run,
        settle: &as_it_is,
    }
}

fn changed<'a>(target: &'a Target, how: &'a Write, subresource: &'a str, old: &'a Value) -> Question<'a> {
    Question { operation: Operation::Update, subresource, old: Some(old), ..created(target, how) }
}

/// The subresource through which an object is written; none for what is nobody else's business.
fn through(part: Part, how: &Write) -> Option<&'static str> {
    match part {
        _ if !how.through.is_empty() => Some(how.through),
        Part::Whole => None,
        part => Some(part.subresource()),
    }
}
