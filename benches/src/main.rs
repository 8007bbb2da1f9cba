//! Selvedge side by side with other thread pools. In every round each row of a scenario is measured once, in an order that moves
//! on by one, so that a disturbance hits all of them; see docs/benchmarks.md for what the rows mean.

mod attach;
mod entrants;
mod hooks;
mod latch;
mod marks;
mod peers;
mod plot;
mod pool;
mod proc;
mod process;
mod report;
mod scenarios;
#[allow(dead_code)]
mod selv;
mod stats;

use clap::Parser;
use entrants::{Cast, Entrant};
use indicatif::{ProgressBar, ProgressStyle};
use peers::list;
use report::{Row, Table};
use scenarios::{Scenario, SCENARIOS};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "selvedge-benches",
    version,
    about = "Selvedge side by side with other thread pools"
)]
struct Options {
    /// Rounds that count, after one to warm up
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only the scenarios whose name begins so; may be given several times
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<String>,
    /// Only these rows (Selvedge itself is always there)
    #[arg(long, value_delimiter = ',', value_name = "PEER,...")]
    peers: Vec<String>,
    /// List the scenarios and peers, and leave
    #[arg(long)]
    list: bool,
    /// Write the tables into DIR/benchmarks.md and the plot to DIR/benchmarks.svg
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Smaller sizes, to try the harness out; the numbers are worth less
    #[arg(long)]
    quick: bool,
    #[arg(long, hide = true, value_name = "PEER")]
    child: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(peer) = &options.child {
        process::child(peer);
        return ExitCode::SUCCESS;
    }
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    if let Err(message) = valid(&options) {
        eprintln!("selvedge-benches: {message}");
        return ExitCode::from(2);
    }
    let sizes = if options.quick {
        scenarios::QUICK
    } else {
        scenarios::FULL
    };
    let cast = Cast::new(sizes, Path::new(env!("BENCH_ROOT")));
    let start = proc::CpuClock::now();
    let load = proc::load_average();
    let chosen = SCENARIOS.iter().filter(|s| {
        options.only.is_empty()
            || options
                .only
                .iter()
                .any(|only| s.id.starts_with(only.as_str()))
    });
    let tables: Vec<Table> = chosen
        .map(|s| measure(s, cast.rows(s.id), &options))
        .collect();
    // Reaps the children, so that their CPU time is counted as ours.
    drop(cast);
    let marks = marks::judge(&tables);
    let run = report::Run {
        rounds: options.rounds,
        quick: options.quick,
        load_before: load,
        disturbance: proc::CpuClock::now().since(&start),
    };
    println!("{}", report::marks(&marks));
    println!("{}", report::run(&run));
    if let Some(folder) = &options.write {
        if let Err(message) = report::write(folder, &tables, &marks, &run) {
            eprintln!("selvedge-benches: {message}");
            return ExitCode::FAILURE;
        }
    }
    if tables.iter().any(Table::has_failures) {
        eprintln!("selvedge-benches: some rows failed, see above");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn list() {
    println!("scenarios:");
    for scenario in SCENARIOS {
        println!(
            "  {:<14} {} ({})",
            scenario.id, scenario.title, scenario.unit
        );
    }
    println!("peers:\n  {}", list::ids().join(" "));
}

fn valid(options: &Options) -> Result<(), String> {
    for only in &options.only {
        if !SCENARIOS.iter().any(|s| s.id.starts_with(only.as_str())) {
            return Err(format!(
                "no scenario begins with {only:?}; --list names them"
            ));
        }
    }
    for peer in &options.peers {
        if !list::ids().contains(&peer.as_str()) {
            return Err(format!("no peer is called {peer:?}; --list names them"));
        }
    }
    options
        .write
        .as_deref()
        .map_or(Ok(()), report::check_target)
}

fn measure(scenario: &'static Scenario, entrants: Vec<Entrant>, options: &Options) -> Table {
    let wanted = |id: &str| {
        options.peers.is_empty()
            || id == scenario.reference
            || !list::ids().contains(&id)
            || options.peers.iter().any(|p| p == id)
    };
    let mut entrants: Vec<Entrant> = entrants.into_iter().filter(|e| wanted(&e.id)).collect();
    let mut rows: Vec<Row> = entrants.iter().map(Row::new).collect();
    let bar = ProgressBar::new(u64::from(options.rounds + 1) * entrants.len() as u64);
    let style = ProgressStyle::with_template("{prefix:<14} {bar:30} {pos}/{len} {elapsed} {msg}");
    bar.set_style(style.expect("a valid template"));
    bar.set_prefix(scenario.id);
    for round in 0..=options.rounds as usize {
        for turn in 0..entrants.len() {
            let index = (turn + round) % entrants.len();
            let (entrant, row) = (&mut entrants[index], &mut rows[index]);
            bar.set_message(entrant.id.clone());
            if let (Ok(run), None) = (&mut entrant.run, &row.absent) {
                match run() {
                    // Round 0 only warms up.
                    Ok(sample) if round > 0 => row.samples.push(sample),
                    Ok(_) => {}
                    Err(message) => row.fail(&message),
                }
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let table = Table { scenario, rows };
    println!("{}", report::terminal(&table));
    table
}
