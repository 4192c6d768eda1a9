//! Measures an installation of the real binaries and prints the numbers.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use bench::{Benchmark, Measure, Settings, table};
use clap::{Parser, ValueEnum};

/// Measures what SPECIFICATION.md promises: memory, latency, rates, flash writes, sizes.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  \
    cargo build --release && cargo run --release -p bench\n  \
    cargo run --release -p bench -- --only device --only memory --json numbers.json")]
struct Args {
    /// Run these only (default: all).
    #[arg(long, value_enum)]
    only: Vec<Benchmark>,
    /// Write the numbers as JSON to this file, or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Seconds that the node idles while its writes are counted.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    idle: u64,
    /// Pods that are created and deleted one after the other.
    #[arg(long, default_value_t = 10)]
    pods: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let chosen = if args.only.is_empty() { Benchmark::value_variants().to_vec() } else { args.only };
    let settings = Settings { idle: Duration::from_secs(args.idle), pods: args.pods };
    let mut measures: Vec<Measure> = Vec::new();
    for benchmark in chosen {
        eprintln!("measuring {benchmark:?} …");
        let found =
            Box::pin(benchmark.run(settings)).await.with_context(|| format!("benchmark {benchmark:?}"))?;
        eprint!("{}", table(&found));
        measures.extend(found);
    }
    let json = serde_json::to_string_pretty(&measures)?;
    match args.json {
        Some(path) if path.as_os_str() == "-" => println!("{json}"),
        Some(path) => {
            std::fs::write(&path, json).with_context(|| format!("write {}", path.display()))?;
            print!("{}", table(&measures));
        }
        None => print!("{}", table(&measures)),
    }
    Ok(())
}
