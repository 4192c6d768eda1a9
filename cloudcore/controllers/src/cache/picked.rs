//! Few pods among many, as kube's controllers want them.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;

use super::{Glance, Id, Pods, uid_of};

impl Pods {
    /// The pods that `is` takes, and their changes. `glance` says which may be such without a look at the whole pod.
    pub(crate) fn picked(
        &self,
        glance: fn(&Glance) -> bool,
        is: fn(&Pod) -> bool,
    ) -> (Store<Pod>, impl Stream<Item = Arc<Pod>> + Send + 'static) {
        let (picked, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let (pods, before) = (self.clone(), picked.clone());
        let wanted = move |id: &Id, pod: &Glance| {
            glance(pod) || before.get(&ObjectRef::new(&id.name).within(&id.namespace)).is_some()
        };
        let changes = self.changes_of(wanted).map(move |pod| {
            let there = pods.get(&pod.namespace().unwrap_or_default(), &pod.name_any());
            let there = there.filter(|there| uid_of(&**there) == uid_of(&*pod) && is(there));
            let known =
                there.map_or_else(|| Event::Delete((*pod).clone()), |there| Event::Apply((*there).clone()));
            writer.apply_watcher_event(&known);
            pod
        });
        (picked, changes.filter(move |pod| std::future::ready(is(pod))))
    }
}
