//! What is done, in which order: a function of the seed alone.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::Fault;

/// Pods wanted at the same time.
const WANTED: usize = 24;
/// Pods that are left alone at the end, so that there is something that must not be touched.
const LEFT: usize = 12;

/// What kind of pod it is, for what its kind can leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One container.
    Plain,
    /// An `emptyDir` in memory and one on disk: mounts.
    Scratch,
    /// A file of a config map through `subPath`, and a volume of it: mounts of mounts.
    Files,
    /// Two containers after one that prepares.
    Crowd,
    /// In the network of the node: no interface of its own.
    HostNetwork,
    /// Fails again and again.
    Crasher,
    /// Is done soon and not started again.
    Finisher,
    /// With limits: another branch of the cgroups.
    Limited,
    /// Does not heed SIGTERM.
    Stubborn,
}

const KINDS: [Kind; 9] = [
    Kind::Plain,
    Kind::Scratch,
    Kind::Files,
    Kind::Crowd,
    Kind::HostNetwork,
    Kind::Crasher,
    Kind::Finisher,
    Kind::Limited,
    Kind::Stubborn,
];

/// A pod as it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub kind: Kind,
    /// Which of the two images.
    pub image: u8,
    /// Counts the updates.
    pub generation: u32,
}

/// One step; pods are numbered as they are created.
#[derive(Clone, Debug)]
pub enum Step {
    /// Creates or changes a pod.
    Apply(usize, Wish),
    /// Changes the config map that pods show.
    Configure(u32),
    /// Kills a process of the pod; the sandbox's own if `sandbox`.
    Kill { pod: usize, sandbox: bool },
    /// Asks for the pod's end; in seconds.
    Delete { pod: usize, grace: Option<u32> },
    /// Breaks the link for a while.
    Cut(Fault, Duration),
    /// Kills a daemon, and starts it again after a while.
    Crash(Victim, Duration),
}

/// Whose crash it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// edgecore.
    Agent,
    /// containerd, or dockerd with its containerd.
    Runtime,
    /// cloudcore.
    Cloud,
}

/// The steps, and what is wanted when all are done.
/// Whether the runtime is killed too is `runtime`.
pub fn draw(seed: u64, pods: usize, runtime: bool) -> (Vec<Step>, BTreeMap<usize, Wish>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut steps = Vec::new();
    let mut wanted: BTreeMap<usize, Wish> = BTreeMap::new();
    let mut created = 0;
    while created < pods || wanted.len() > LEFT {
        let any = |random: &mut fastrand::Rng, wanted: &BTreeMap<usize, Wish>| {
            wanted.iter().nth(random.usize(..wanted.len().max(1))).map(|(pod, wish)| (*pod, *wish))
        };
        match random.u8(..102) {
            0..=39 if created < pods && wanted.len() < WANTED => {
                let wish =
                    Wish { kind: KINDS[random.usize(..KINDS.len())], image: random.u8(..2), generation: 0 };
                wanted.insert(created, wish);
                steps.push(Step::Apply(created, wish));
                created += 1;
            }
            40..=69 => {
                if let Some((pod, _)) = any(&mut random, &wanted) {
                    wanted.remove(&pod);
                    let grace = [Some(0), Some(1), None][random.usize(..3)];
                    steps.push(Step::Delete { pod, grace });
                }
            }
            70..=79 => {
                if let Some((pod, mut wish)) = any(&mut random, &wanted) {
                    wish.image = random.u8(..2);
                    wish.generation += 1;
                    wanted.insert(pod, wish);
                    steps.push(Step::Apply(pod, wish));
                }
            }
            80..=91 => {
                if let Some((pod, _)) = any(&mut random, &wanted) {
                    steps.push(Step::Kill { pod, sandbox: random.u8(..3) == 0 });
                }
            }
            92..=93 => steps.push(Step::Configure(random.u32(..))),
            94..=96 => {
                let fault = if random.bool() { Fault::Refuse } else { Fault::Silence };
                steps.push(Step::Cut(fault, Duration::from_millis(random.u64(50..2500))));
            }
            97 => steps.push(Step::Crash(Victim::Cloud, Duration::from_millis(random.u64(..1500)))),
            98 if runtime => {
                steps.push(Step::Crash(Victim::Runtime, Duration::from_millis(random.u64(..1500))))
            }
            99..=101 => steps.push(Step::Crash(Victim::Agent, Duration::from_millis(random.u64(..800)))),
            _ => {}
        }
    }
    (steps, wanted)
}

impl Kind {
    /// The names of the containers that run as long as the pod does.
    pub fn running(self) -> &'static [&'static str] {
        match self {
            Self::Crowd => &["main", "side"],
            Self::Crasher | Self::Finisher => &[],
            _ => &["main"],
        }
    }

    /// Whether a sandbox is held all the time.
    pub fn holds_sandbox(self) -> bool {
        self != Self::Finisher
    }
}
