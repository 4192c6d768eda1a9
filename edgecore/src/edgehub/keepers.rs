//! Who keeps what the cloud sends: objects are metamanager's, tasks are taskmanager's.

use proto::message::{Group, Message};
use proto::session::Outcome;

use crate::{metamanager, taskmanager};

/// The modules that store for this node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Keepers {
    pub(super) objects: metamanager::Handle,
    /// None when this node takes no tasks.
    pub(super) jobs: Option<taskmanager::Handle>,
}

impl Keepers {
    /// An outcome per message, in their order: `Done` only for what is on disk.
    pub(super) async fn accept(&self, messages: Vec<Message>) -> Vec<Outcome> {
        let is_task = |message: &Message| message.route.group == Group::TaskManager;
        if !messages.iter().any(is_task) {
            return self.objects.accept(messages).await;
        }
        let mut outcomes = vec![Outcome::Done; messages.len()];
        let (tasks, objects): (Vec<_>, Vec<_>) =
            messages.into_iter().enumerate().partition(|(_, message)| is_task(message));
        // Objects first: a task may need one of them.
        let (places, objects): (Vec<_>, Vec<_>) = objects.into_iter().unzip();
        for (place, outcome) in places.into_iter().zip(self.objects.accept(objects).await) {
            outcomes[place] = outcome;
        }
        for (place, task) in tasks {
            outcomes[place] = match &self.jobs {
                Some(jobs) => jobs.accept(&task).await,
                None => Outcome::Rejected("modules.taskManager.enable is false on this edge".into()),
            };
        }
        outcomes
    }
}
