//! Selvedge side by side with other thread pools, locks and event loops. In every round each row of a scenario is measured once,
//! in an order that moves on by one, so that a disturbance hits all of them; see docs/benchmarks.md for what the rows mean.

mod attach;
mod entrants;
mod hooks;
mod latch;
mod locks;
mod loops;
mod marks;
mod peers;
mod plot;
mod pool;
mod proc;
mod process;
mod python;
mod report;
mod scenarios;
#[allow(dead_code)]
mod selv;
mod stats;
mod suites;

use clap::Parser;
use entrants::Entrant;
use indicatif::{ProgressBar, ProgressStyle};
use report::{Row, Table};
use scenarios::Scenario;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use suites::{Suite, SUITES};

#[derive(Parser)]
#[command(
    name = "selvedge-benches",
    version,
    about = "Selvedge side by side with other thread pools, locks, channels and event loops"
)]
struct Options {
    /// What to measure: pools, locks, loops, python [default: all]
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
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
    /// Write each suite's tables into its section of DIR/benchmarks.md and its picture beside it
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
    let mut failed = false;
    for suite in options.suites() {
        match run(suite, &options) {
            Ok(complete) => failed |= !complete,
            Err(message) => {
                eprintln!("selvedge-benches: {message}");
                return ExitCode::FAILURE;
            }
        }
    }
    if failed {
        eprintln!("selvedge-benches: some rows failed, see above");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

impl Options {
    /// The suites asked for; with `--only` those of them that have such a scenario.
    fn suites(&self) -> impl Iterator<Item = &'static Suite> + '_ {
        SUITES.iter().filter(|suite| {
            (self.suites.is_empty() || self.suites.iter().any(|id| id == suite.id))
                && suite.scenarios.iter().any(|s| self.wants(s))
        })
    }

    fn wants(&self, scenario: &Scenario) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| scenario.id.starts_with(only))
    }
}

/// Measures one suite and tells. Did every row work?
fn run(suite: &'static Suite, options: &Options) -> Result<bool, String> {
    let cast = (suite.cast)(options.quick, Path::new(env!("BENCH_ROOT")));
    let start = proc::CpuClock::now();
    let load = proc::load_average();
    let chosen = suite.scenarios.iter().filter(|s| options.wants(s));
    let tables: Vec<Table> = chosen
        .map(|s| measure(s, cast.rows(s.id), (suite.peers)(), options))
        .collect();
    // Reaps the children, so that their CPU time is counted as ours.
    drop(cast);
    let marks = (suite.judge)(&tables);
    let run = report::Run {
        rounds: options.rounds,
        quick: options.quick,
        load_before: load,
        disturbance: proc::CpuClock::now().since(&start),
    };
    println!("{}", report::marks(&marks));
    println!("{}", report::run(&run));
    if let Some(folder) = &options.write {
        report::write(folder, suite, &tables, &marks, &run)?;
    }
    Ok(!tables.iter().any(Table::has_failures))
}

fn list() {
    for suite in SUITES {
        println!("{}:", suite.id);
        for scenario in suite.scenarios {
            println!(
                "  {:<20} {} ({})",
                scenario.id, scenario.title, scenario.unit
            );
        }
        println!("  peers: {}", (suite.peers)().join(" "));
    }
}

fn valid(options: &Options) -> Result<(), String> {
    for id in &options.suites {
        if !SUITES.iter().any(|suite| suite.id == id) {
            return Err(format!("no suite is called {id:?}; --list names them"));
        }
    }
    let asked: Vec<&Suite> = SUITES
        .iter()
        .filter(|s| options.suites.is_empty() || options.suites.iter().any(|id| id == s.id))
        .collect();
    for only in &options.only {
        let mut scenarios = asked.iter().flat_map(|suite| suite.scenarios);
        if !scenarios.any(|s| s.id.starts_with(only.as_str())) {
            return Err(format!(
                "no scenario begins with {only:?}; --list names them"
            ));
        }
    }
    for peer in &options.peers {
        if !asked.iter().any(|s| (s.peers)().contains(&peer.as_str())) {
            return Err(format!("no peer is called {peer:?}; --list names them"));
        }
    }
    match &options.write {
        Some(folder) => options
            .suites()
            .try_for_each(|suite| report::check_target(folder, suite)),
        None => Ok(()),
    }
}

fn measure(
    scenario: &'static Scenario,
    entrants: Vec<Entrant>,
    peers: Vec<&str>,
    options: &Options,
) -> Table {
    let wanted = |id: &str| {
        options.peers.is_empty()
            || id == scenario.reference
            || !peers.contains(&id)
            || options.peers.iter().any(|p| p == id)
    };
    let mut entrants: Vec<Entrant> = entrants.into_iter().filter(|e| wanted(&e.id)).collect();
    let mut rows: Vec<Row> = entrants.iter().map(Row::new).collect();
    let bar = ProgressBar::new(u64::from(options.rounds + 1) * entrants.len() as u64);
    let style = ProgressStyle::with_template("{prefix:<20} {bar:30} {pos}/{len} {elapsed} {msg}");
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
