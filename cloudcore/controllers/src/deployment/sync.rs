//! One look at a Deployment.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::Shell;
use super::rolling::{self, Resize};
use super::scale;
use super::status::{self, News, Sets};
use super::template::find;
use super::view::{Set, View, actual, size};
use super::{revision, template};
use crate::cache::{is_going, uid_of};
use crate::claim::claim_from;
use crate::error::Error;
use crate::pods::is_finished;
use crate::status as api;

impl Shell {
    pub(super) async fn sync(&self, view: View<'_>) -> Result<Action, Error> {
        let all = self.own_sets(&view).await?;
        let new = find(&all, &view.spec.template);
        let is_new = |set: &Set| new.as_ref().is_some_and(|new| uid_of(&**new) == uid_of(&**set));
        let old = all.into_iter().filter(|set| !is_new(set)).collect();
        let mut sets = Sets { new, old };
        if is_going(view.deployment) {
            return self.report(&view, &sets, None, false).await;
        }
        let mut news = None;
        if let Some(new) = &sets.new {
            news = Some(News::Found(new.name_any()));
            sets.new = Some(self.number(&view, new, &sets.old).await?);
        }
        if view.is_paused() || scale::is_wanted(&view, sets.all()) {
            let sizes = scale::sizes(&view, sets.new.as_ref(), &sets.old);
            self.apply(&view, &mut sets, sizes).await?;
            if view.is_paused() {
                self.forget_oldest(&view, &sets.old).await?;
            }
            return self.report(&view, &sets, news, false).await;
        }
        if view.recreates() && (self.stop_old(&view, &mut sets).await? || self.old_pods_run(&view, &sets.new))
        {
            return self.report(&view, &sets, news, true).await;
        }
        if sets.new.is_none() {
            (sets.new, news) = self.create(&view, &sets.old).await?;
        } else if let Some(new) = &sets.new {
            let steps = rolling::step(&view, new, &sets.old);
            let still = steps.is_empty();
            self.apply(&view, &mut sets, steps).await?;
            let status = view.deployment.status.clone().unwrap_or_default();
            if still && status::is_complete(&view, &status) {
                self.forget_oldest(&view, &sets.old).await?;
            }
        }
        self.report(&view, &sets, news, true).await
    }

    async fn own_sets(&self, view: &View<'_>) -> Result<Vec<Set>, Error> {
        let sets = &self.context.caches.replica_sets;
        claim_from(&self.context.client, view.deployment, Some(&view.spec.selector), sets).await
    }

    async fn apply(&self, view: &View<'_>, sets: &mut Sets, sizes: Vec<Resize>) -> Result<(), Error> {
        for (set, to) in sizes {
            let resized = self.resize(view, &set, to).await?;
            let place =
                sets.new.iter_mut().chain(&mut sets.old).find(|known| uid_of(&***known) == uid_of(&*resized));
            if let Some(place) = place {
                *place = resized;
            }
        }
        Ok(())
    }

    /// Takes all old pods away; tells whether there was anything to do.
    async fn stop_old(&self, view: &View<'_>, sets: &mut Sets) -> Result<bool, Error> {
        let sizes: Vec<Resize> =
            sets.old.iter().filter(|set| size(set) > 0).map(|set| (Arc::clone(set), 0)).collect();
        let any = !sizes.is_empty();
        self.apply(view, sets, sizes).await?;
        Ok(any)
    }

    /// Whether a pod of another template has not ended yet, be it one that is about to.
    fn old_pods_run(&self, view: &View<'_>, new: &Option<Set>) -> bool {
        let caches = &self.context.caches;
        let sets = caches.replica_sets.controlled_by(view.deployment);
        let mut old =
            sets.iter().filter(|set| new.as_ref().is_none_or(|new| uid_of(&**new) != uid_of(&***set)));
        old.any(|set| caches.pods.controlled_by(&**set).iter().any(|pod| !is_finished(pod)))
    }

    /// Deletes sets without pods beyond those that are kept for `kubectl rollout undo`.
    async fn forget_oldest(&self, view: &View<'_>, old: &[Set]) -> Result<(), Error> {
        let Some(limit) = view.spec.revision_history_limit else { return Ok(()) };
        let mut sets: Vec<&Set> = old.iter().filter(|set| !is_going(&***set)).collect();
        sets.sort_by_cached_key(|set| (revision::of(set), template::age(set)));
        let surplus = sets.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for set in sets.into_iter().take(surplus) {
            let seen = set.status.as_ref().and_then(|status| status.observed_generation);
            if actual(set) == 0 && size(set) == 0 && set.metadata.generation <= seen {
                self.delete(view, set).await?;
            }
        }
        Ok(())
    }

    async fn report(
        &self,
        view: &View<'_>,
        sets: &Sets,
        news: Option<News>,
        rolls: bool,
    ) -> Result<Action, Error> {
        let now = Timestamp::now();
        let status: DeploymentStatus = status::status(view, sets, news.as_ref(), rolls, now);
        let client = &self.context.client;
        if let Some(written) = api::write(client, view.deployment, &view.deployment.status, &status).await? {
            self.deployments.wrote(view.deployment, &written);
        }
        if let Some(new) = &sets.new {
            self.show_revision(view, new).await?;
        }
        match news {
            // Tried again with a growing pause, until quota or rights allow it.
            Some(News::Failed(message)) => Err(Error::Object(message)),
            _ => Ok(status::next_look(view, &status, now).map_or_else(Action::await_change, Action::requeue)),
        }
    }
}
