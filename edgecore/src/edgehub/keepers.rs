//! Who keeps what the cloud sends: objects are metamanager's, tasks are taskmanager's, what rules want is rules'.

use proto::message::{Group, Message};
use proto::session::Outcome;

use crate::{metamanager, rules, taskmanager};

/// The modules that store for this node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Keepers {
    pub(super) objects: metamanager::Handle,
    /// None when this node takes no tasks.
    pub(super) jobs: Option<taskmanager::Handle>,
    /// None when this node has no part in rules.
    pub(super) rules: Option<rules::Handle>,
}

impl Keepers {
    /// An outcome per message, in their order: `Done` only for what is on disk.
    pub(super) async fn accept(&self, messages: Vec<Message>) -> Vec<Outcome> {
        let is_object = |message: &Message| !matches!(message.route.group, Group::TaskManager | Group::User);
        if messages.iter().all(is_object) {
            return self.objects.accept(messages).await;
        }
        let mut outcomes = vec![Outcome::Done; messages.len()];
        let (objects, others): (Vec<_>, Vec<_>) =
            messages.into_iter().enumerate().partition(|(_, message)| is_object(message));
        // Objects first: a task may need one of them.
        let (places, objects): (Vec<_>, Vec<_>) = objects.into_iter().unzip();
        for (place, outcome) in places.into_iter().zip(self.objects.accept(objects).await) {
            outcomes[place] = outcome;
        }
        for (place, message) in others {
            outcomes[place] = match (&message.route.group, &self.jobs, &self.rules) {
                (Group::User, _, Some(rules)) => rules.accept(message).await,
                (Group::User, _, None) => Outcome::Rejected(
                    "this edge has no part in rules: modules.eventBus.enable and modules.serviceBus.enable are false, or its log says why".into(),
                ),
                (_, Some(jobs), _) => jobs.accept(&message).await,
                (_, None, _) => Outcome::Rejected("modules.taskManager.enable is false on this edge".into()),
            };
        }
        outcomes
    }
}
