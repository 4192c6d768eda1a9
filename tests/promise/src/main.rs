//! Measures what SPECIFICATION.md promises and says which promises are kept.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use bench::{Benchmark, Settings};
use clap::{Parser, ValueEnum};
use promise::Promise;

/// Measures what SPECIFICATION.md promises; exits 1 when a promise that it calls kept is broken.
#[derive(Debug, Parser)]
#[command(after_help = "Example:\n  cargo build --release && cargo run --release -p promise")]
struct Args {
    /// The document.
    #[arg(long, default_value = "SPECIFICATION.md")]
    document: PathBuf,
    /// Measure these only (default: all).
    #[arg(long, value_enum)]
    only: Vec<Benchmark>,
    /// Seconds that the node idles while its writes are counted.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    idle: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let document = std::fs::read_to_string(&args.document).with_context(|| {
        format!("read {}: run this at the top of the repository", args.document.display())
    })?;
    let promises = Promise::all(&document)?;
    let chosen = if args.only.is_empty() { Benchmark::value_variants().to_vec() } else { args.only };
    let settings = Settings { idle: Duration::from_secs(args.idle), pods: 10 };
    let mut broken = 0_u32;
    for benchmark in chosen {
        for measure in Box::pin(benchmark.run(settings)).await? {
            let promised = promises.iter().find(|promise| promise.evidence == measure.name);
            let verdict = match promised.and_then(|promise| Some((promise, promise.bound?))) {
                None => "not promised",
                Some((_, bound)) if bound.holds(measure.value) => "kept",
                Some((promise, _)) if promise.met => {
                    broken += 1;
                    "BROKEN"
                }
                Some(_) => "not yet met, as the document says",
            };
            println!("{measure}   → {verdict}");
        }
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
