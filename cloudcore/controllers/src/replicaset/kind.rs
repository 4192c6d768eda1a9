//! The two kinds that want a number of pods: ReplicaSets, and ReplicationControllers before them.
//!
//! Source: Kubernetes v1.36 `pkg/controller/replication`, which shows ReplicationControllers as ReplicaSets, too.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;

use crate::cache::Cache;
use crate::context::Caches;
use crate::pods::control::Owner;

/// What wants a number of pods of one template.
pub(super) trait Replicated: Owner {
    /// Who its events are from.
    const COMPONENT: &'static str;
    /// What its task is called.
    const TASK: &'static str;
    type Status: Serialize + Send + Sync;

    fn cache(caches: &Caches) -> &Cache<Self>;
    fn selector(&self) -> Option<LabelSelector>;
    fn replicas(&self) -> Option<i32>;
    fn min_ready_seconds(&self) -> i32;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> &Option<Self::Status>;
    fn conditions(&self) -> Vec<ReplicaSetCondition>;
    /// The same status in the words of this kind.
    fn status_of(status: ReplicaSetStatus) -> Self::Status;
}

/// What both kinds have under the same names.
macro_rules! fields {
    () => {
        fn replicas(&self) -> Option<i32> {
            self.spec.as_ref()?.replicas
        }

        fn min_ready_seconds(&self) -> i32 {
            self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
        }

        fn template(&self) -> Option<&PodTemplateSpec> {
            self.spec.as_ref()?.template.as_ref()
        }

        fn status(&self) -> &Option<Self::Status> {
            &self.status
        }
    };
}

impl Replicated for ReplicaSet {
    const COMPONENT: &'static str = "replicaset-controller";
    const TASK: &'static str = "replicasets";
    type Status = ReplicaSetStatus;

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.replica_sets
    }

    fn selector(&self) -> Option<LabelSelector> {
        self.spec.as_ref().map(|spec| spec.selector.clone())
    }

    fields!();

    fn conditions(&self) -> Vec<ReplicaSetCondition> {
        self.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default()
    }

    fn status_of(status: ReplicaSetStatus) -> ReplicaSetStatus {
        status
    }
}

impl Replicated for ReplicationController {
    const COMPONENT: &'static str = "replication-controller";
    const TASK: &'static str = "replicationcontrollers";
    type Status = ReplicationControllerStatus;

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.replication_controllers
    }

    fn selector(&self) -> Option<LabelSelector> {
        let labels = self.spec.as_ref()?.selector.clone();
        Some(LabelSelector { match_labels: labels, ..LabelSelector::default() })
    }

    fields!();

    fn conditions(&self) -> Vec<ReplicaSetCondition> {
        let conditions = self.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let same = |condition: &ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: condition.last_transition_time.clone(),
            message: condition.message.clone(),
            reason: condition.reason.clone(),
            status: condition.status.clone(),
            type_: condition.type_.clone(),
        };
        conditions.map(same).collect()
    }

    fn status_of(status: ReplicaSetStatus) -> ReplicationControllerStatus {
        let same = |condition: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: condition.last_transition_time,
            message: condition.message,
            reason: condition.reason,
            status: condition.status,
            type_: condition.type_,
        };
        ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(same).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        }
    }
}
