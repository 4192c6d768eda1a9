//! Those who make, change and delete the objects, straight at the API, and know what there must be.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

const OBJECTS: usize = 40;

pub struct People {
    maps: Api<ConfigMap>,
    random: fastrand::Rng,
    /// By name: what it holds; nothing while it goes.
    wanted: BTreeMap<String, Option<usize>>,
    pub writes: usize,
}

impl People {
    pub fn new(maps: Api<ConfigMap>, random: fastrand::Rng) -> Self {
        Self { maps, random, wanted: BTreeMap::new(), writes: 0 }
    }

    /// What must be there in the end.
    pub fn wanted(&self) -> BTreeMap<String, String> {
        let held = |(name, number): (&String, &Option<usize>)| Some((name.clone(), (*number)?.to_string()));
        self.wanted.iter().filter_map(held).collect()
    }

    /// Goes on for `time`, through whatever happens to the API.
    pub async fn work(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let name = format!("map-{}", self.random.usize(..OBJECTS));
            match self.wanted.get(&name) {
                Some(Some(_)) if self.random.u8(..10) < 3 => self.delete(&name).await,
                // One that still goes has the name.
                Some(None) => {
                    if self.maps.get_opt(&name).await.is_ok_and(|found| found.is_none()) {
                        self.wanted.remove(&name);
                    }
                }
                _ => self.write(&name).await,
            }
            sleep(Duration::from_millis(self.random.u64(10..60))).await;
        }
    }

    async fn write(&mut self, name: &str) {
        self.writes += 1;
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"mirror": "yes"}},
            "data": {"number": self.writes.to_string()},
        });
        let params = PatchParams::apply("people").force();
        while self.maps.patch(name, &params, &Patch::Apply(&map)).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        self.wanted.insert(name.to_owned(), Some(self.writes));
    }

    async fn delete(&mut self, name: &str) {
        self.writes += 1;
        loop {
            match self.maps.delete(name, &DeleteParams::default()).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 404 => break,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
        self.wanted.insert(name.to_owned(), None);
    }

    pub async fn delete_all(&mut self) {
        let held: Vec<String> = self.wanted().into_keys().collect();
        for name in held {
            self.delete(&name).await;
        }
    }
}
