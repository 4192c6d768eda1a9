//! An operator by the kube crate, two replicas of it, while cloudcore is killed, replicas are killed, and the way to the API is cut for
//! so long that its history is gone: nothing is missed, nobody works twice, and nothing is asked again and again.
//!
//! `SKERRY_SEED` repeats the order, `SKERRY_OPERATOR_SECONDS` makes it longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod election;
mod people;
mod replica;
mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::mirror::{MADE, MINE};
use e2e::{Fault, Link, Stack, StackOptions, eventually};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::watcher::Config;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use election::Terms;
use people::People;
use replica::{Counts, Soon, is_gone};
use requests::Requests;

const SECONDS: u64 = 75;
/// How long the operator may take to catch up with a fault.
const SETTLE: Duration = Duration::from_secs(40);
/// More changes than the API remembers of one collection.
const FORGOTTEN: usize = 1200;
const QUIET: Duration = Duration::from_secs(10);

fn number(name: &str, otherwise: u64) -> Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is a number")),
        Err(_) => Ok(otherwise),
    }
}

struct Run {
    stack: Stack,
    link: Link,
    client: Client,
    requests: Requests,
    terms: Terms,
    counts: Arc<Counts>,
    store: reflector::Store<ConfigMap>,
    tasks: JoinSet<()>,
    replicas: BTreeMap<String, AbortHandle>,
    started: usize,
    longest: Duration,
}

impl Run {
    async fn start() -> Result<Self> {
        let stack = Stack::start(StackOptions::default()).await?;
        let config = kube::config::Kubeconfig::read_from(stack.kubeconfig())?;
        let server = config.clusters[0].cluster.as_ref().and_then(|cluster| cluster.server.clone());
        let server = server.context("a kubeconfig names its server")?;
        let link = Link::to(server.trim_start_matches("https://").parse()?)?;
        let requests = Requests::default();
        let client = requests.client(&stack.kubeconfig(), link.address()).await?;
        let (counts, mut tasks) = (Arc::new(Counts::default()), JoinSet::new());
        let (store, writer) = reflector::store();
        let maps = Api::<ConfigMap>::default_namespaced(client.clone());
        let seen = Arc::clone(&counts);
        tasks.spawn(async move {
            let watch = watcher(maps, Config::default().labels(MINE)).backoff(Soon::new());
            let watch = reflector(writer, watch).for_each(|event| {
                if event.as_ref().is_err_and(is_gone) {
                    seen.store_gone.fetch_add(1, Ordering::Relaxed);
                }
                std::future::ready(())
            });
            watch.await;
        });
        let terms = Terms::default();
        let (replicas, longest) = (BTreeMap::new(), Duration::ZERO);
        let mut run = Self {
            stack,
            link,
            client,
            requests,
            terms,
            counts,
            store,
            tasks,
            replicas,
            started: 0,
            longest,
        };
        run.replica();
        run.replica();
        Ok(run)
    }

    fn replica(&mut self) {
        self.started += 1;
        let who = format!("replica-{}", self.started);
        let (terms, counts) = (self.terms.clone(), Arc::clone(&self.counts));
        let task = self.tasks.spawn(replica::run(self.client.clone(), who.clone(), terms, counts));
        self.replicas.insert(who, task);
    }

    /// The one that works dies in the middle of it, and another is started.
    fn kill_leader(&mut self) {
        if let Some(task) = self.terms.leader().and_then(|who| self.replicas.remove(&who)) {
            task.abort();
            self.replica();
        }
    }

    /// Cuts the operator off until the API has forgotten what it saw last.
    async fn forget(&self) -> Result<()> {
        let maps = Api::<ConfigMap>::default_namespaced(self.stack.client());
        let writes = (0..FORGOTTEN).map(|number| {
            let maps = maps.clone();
            let name = format!("noise-{number}");
            let noise = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"noise": "yes"}},
            });
            async move { maps.patch(&name, &PatchParams::apply("noise"), &Patch::Apply(noise)).await }
        });
        let mut writes = futures::stream::iter(writes).buffer_unordered(32);
        while let Some(written) = writes.next().await {
            written?;
        }
        // Quickly: whoever leads must still do so afterwards, and go on with the watch that it had.
        self.link.set(Fault::Refuse);
        let noise = ListParams::default().labels("noise=yes");
        maps.delete_collection(&DeleteParams::default(), &noise).await?;
        self.link.set(Fault::None);
        Ok(())
    }

    async fn fault(&mut self, round: usize, random: &mut fastrand::Rng) -> Result<()> {
        match round % 4 {
            0 => self.stack.cloud.restart()?,
            1 => self.forget().await?,
            2 => self.kill_leader(),
            _ => {
                self.forget().await?;
                self.kill_leader();
                self.stack.cloud.kill();
                sleep(Duration::from_millis(random.u64(..1500))).await;
                self.stack.cloud.restart()?;
            }
        }
        Ok(())
    }

    /// Waits until everything is as the people want it, for the operator and in its store.
    async fn settle(&mut self, people: &People) -> Result<()> {
        let begin = Instant::now();
        let maps = Api::<ConfigMap>::default_namespaced(self.stack.client());
        let secrets = Api::<Secret>::default_namespaced(self.stack.client());
        let wanted = people.wanted();
        let number = |secret: &Secret| {
            let value = secret.data.as_ref()?.get("number")?;
            String::from_utf8(value.0.clone()).ok()
        };
        let settled = eventually("the operator has done what there was to do", SETTLE, || async {
            let made =
                secrets.list(&ListParams::default().labels(MADE)).await.map_err(|error| error.to_string())?;
            let made: BTreeMap<_, _> =
                made.iter().map(|secret| (secret.name_any(), number(secret).unwrap_or_default())).collect();
            if made != wanted {
                return Err(format!("{made:?} is made and {wanted:?} is wanted"));
            }
            let held =
                maps.list(&ListParams::default().labels(MINE)).await.map_err(|error| error.to_string())?;
            let held: BTreeMap<_, _> =
                held.into_iter().map(|map| (map.name_any(), map.resource_version())).collect();
            if !held.keys().eq(wanted.keys()) {
                return Err(format!("{held:?} is there and {wanted:?} is wanted"));
            }
            let stored: BTreeMap<_, _> =
                self.store.state().iter().map(|map| (map.name_any(), map.resource_version())).collect();
            if stored != held {
                return Err(format!("{stored:?} is in the store and {held:?} is there"));
            }
            Ok(())
        });
        settled.await.with_context(|| {
            format!(
                "leader: {:?}; {}; cloudcore's log ends:\n{}",
                self.terms.leader(),
                self.requests,
                self.stack.cloud.tail()
            )
        })?;
        self.longest = self.longest.max(begin.elapsed());
        Ok(())
    }

    /// Nothing changes, so nothing is asked but who leads.
    async fn stays_quiet(&self) -> Result<()> {
        let (work, election) = (self.requests.of_work(), self.requests.of_election());
        sleep(QUIET).await;
        let work = self.requests.of_work() - work;
        ensure!(work <= 3, "{work} requests in {QUIET:?} in which nothing changed");
        let election = self.requests.of_election() - election;
        let most = 2 * QUIET.as_millis().div_ceil(election::RETRY.as_millis()) as usize;
        ensure!(election <= most, "{election} requests of two candidates in {QUIET:?}");
        Ok(())
    }

    /// Every object that is there is told of under its own uid: the last thing that the operator does with it.
    async fn everything_was_told(&self) -> Result<()> {
        let maps = Api::<ConfigMap>::default_namespaced(self.stack.client());
        let events = Api::<Event>::default_namespaced(self.stack.client());
        let maps = maps.list(&ListParams::default().labels(MINE)).await?.items;
        eventually("an event tells of every object", SETTLE, || async {
            let told = events.list(&ListParams::default().fields("reason=Mirrored")).await;
            let told = told.map_err(|error| error.to_string())?;
            let told: std::collections::BTreeSet<_> =
                told.into_iter().filter_map(|event| event.regarding?.uid).collect();
            let untold = maps.iter().find(|map| map.uid().is_none_or(|uid| !told.contains(&uid)));
            untold.map_or(Ok(()), |map| Err(map.name_any()))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_misses_nothing_and_asks_no_more_than_it_must() -> Result<()> {
    let seed = number("SKERRY_SEED", fastrand::u64(..))?;
    let time = Duration::from_secs(number("SKERRY_OPERATOR_SECONDS", SECONDS)?);
    println!("SKERRY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut run = Run::start().await?;
    let mut people = People::new(Api::default_namespaced(run.stack.client()), random.fork());
    let end = Instant::now() + time;
    let mut rounds = 0;
    while rounds < 4 || Instant::now() < end {
        people.work(Duration::from_millis(random.u64(1000..4000))).await;
        let (fault, ()) = tokio::join!(run.fault(rounds, &mut random), people.work(Duration::from_secs(3)));
        fault?;
        people.work(Duration::from_millis(random.u64(..1000))).await;
        run.settle(&people).await?;
        rounds += 1;
    }
    run.everything_was_told().await?;
    run.stays_quiet().await?;
    people.delete_all().await;
    run.settle(&people).await?;

    let terms = run.terms.count();
    let (gone, store_gone) =
        (run.counts.gone.load(Ordering::Relaxed), run.counts.store_gone.load(Ordering::Relaxed));
    let looks = run.counts.looks.load(Ordering::Relaxed);
    println!(
        "{rounds} faults in {time:?}: {} writes, {looks} looks, {store_gone} times 410 for the store and {gone} times for who worked, {terms} terms of {} replicas; behind for {:?} at most; {}",
        people.writes, run.started, run.longest, run.requests
    );
    ensure!(
        store_gone >= rounds / 2,
        "the API forgot {} times and told the store {store_gone} times",
        rounds / 2
    );
    // Who loses the lease meanwhile begins with a list instead, so `gone` is told and not asked for.
    // Each write, its finalizer and a repetition; and everything again for each new term and after each 410.
    let most = people.writes * 4 + (terms + gone + rounds) * 80;
    ensure!(looks < most, "{looks} looks are more than {most}");
    Ok(())
}
