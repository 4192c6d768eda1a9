//! Who of several may work: the holder of a Lease, by client-go's rules.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, timeout};

const NAME: &str = "operator";
/// Who has not been heard of for as long has lost it.
const LEASE: Duration = Duration::from_secs(9);
/// Who could not renew for as long stops by itself, before others begin.
const DEADLINE: Duration = Duration::from_secs(7);
pub const RETRY: Duration = Duration::from_millis(500);

/// When who was the one that works, by this test's clock.
#[derive(Clone, Default)]
pub struct Terms(Arc<Mutex<Vec<Served>>>);

/// Who it was, from when on, and until when.
type Served = (String, Instant, Option<Instant>);

/// Ends with its owner, however that ends.
pub struct Term {
    terms: Terms,
    number: usize,
}

impl Terms {
    fn begin(&self, who: &str) -> Term {
        let mut terms = self.0.lock().unwrap();
        terms.push((who.to_owned(), Instant::now(), None));
        Term { terms: self.clone(), number: terms.len() - 1 }
    }

    /// Who works now.
    pub fn leader(&self) -> Option<String> {
        let terms = self.0.lock().unwrap();
        terms.iter().find(|(_, _, end)| end.is_none()).map(|(who, ..)| who.clone())
    }

    /// How many terms there were; no two at one time.
    pub fn count(&self) -> usize {
        let mut terms = self.0.lock().unwrap().clone();
        terms.sort_by_key(|(_, begin, _)| *begin);
        for pair in terms.windows(2) {
            let ((first, _, end), (second, begin, _)) = (&pair[0], &pair[1]);
            assert!(end.is_some_and(|end| end <= *begin), "{first} and {second} worked at one time");
        }
        terms.len()
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.terms.0.lock().unwrap()[self.number].2 = Some(Instant::now());
    }
}

pub struct Candidate {
    leases: Api<Lease>,
    who: String,
    /// What was seen last, and since when.
    seen: Option<(Lease, Instant)>,
}

impl Candidate {
    pub fn new(leases: Api<Lease>, who: &str) -> Self {
        Self { leases, who: who.to_owned(), seen: None }
    }

    /// Waits until this one holds the lease.
    pub async fn win(&mut self, terms: &Terms) -> Term {
        loop {
            if timeout(DEADLINE, self.attempt()).await.is_ok_and(|held| held) {
                return terms.begin(&self.who);
            }
            sleep(RETRY).await;
        }
    }

    /// Returns when the lease is lost.
    pub async fn keep(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < DEADLINE {
            sleep(RETRY.min(DEADLINE.saturating_sub(renewed.elapsed()))).await;
            let left = DEADLINE.saturating_sub(renewed.elapsed());
            let begun = Instant::now();
            if timeout(left, self.attempt()).await.is_ok_and(|held| held) {
                renewed = begun;
            }
        }
    }

    async fn attempt(&mut self) -> bool {
        let held = self.seen.as_ref().is_some_and(|(lease, _)| holder(lease) == self.who);
        if !held {
            match self.leases.get_opt(NAME).await {
                Ok(Some(lease)) => self.saw(lease),
                Ok(None) => {
                    let lease =
                        self.lease(ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }, 0);
                    return self.write(self.leases.create(&PostParams::default(), &lease).await);
                }
                Err(_) => return false,
            }
        }
        let Some((lease, since)) = &self.seen else { return false };
        let mine = holder(lease) == self.who;
        if !mine && !holder(lease).is_empty() && since.elapsed() < LEASE {
            return false;
        }
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let next = self.lease(lease.metadata.clone(), transitions + i32::from(!mine));
        self.write(self.leases.replace(NAME, &PostParams::default(), &next).await)
    }

    fn write(&mut self, answer: kube::Result<Lease>) -> bool {
        match answer {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                true
            }
            Err(_) => {
                // Perhaps it was written all the same: what is there is looked at before the next attempt.
                if let Some((lease, _)) = &mut self.seen
                    && holder(lease) == self.who
                {
                    self.seen = None;
                }
                false
            }
        }
    }

    fn saw(&mut self, lease: Lease) {
        let known = self
            .seen
            .as_ref()
            .is_some_and(|(seen, _)| seen.metadata.resource_version == lease.metadata.resource_version);
        if !known {
            self.seen = Some((lease, Instant::now()));
        }
    }

    fn lease(&self, metadata: ObjectMeta, transitions: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = LeaseSpec {
            holder_identity: Some(self.who.clone()),
            lease_duration_seconds: Some(9),
            lease_transitions: Some(transitions),
            renew_time: Some(now.clone()),
            acquire_time: Some(now),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}
