//! One peer in a process of its own, where every thread and every page is its: for what is counted and not timed.

use crate::peers::child::Child;
use crate::peers::list::{normal, plain, PEERS, SELVEDGE};
use crate::pool::Setup;
use crate::{proc, scenarios as run};
use std::process::Command;
use std::time::Duration;

/// Starts this program again and has it do one command with one peer.
pub fn ask(id: &str, command: &str) -> Result<(f64, f64), String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    Child::start(Command::new(this).args(["--child", id]))?.ask(command)
}

/// The other side of `ask`.
pub fn child(id: &str) {
    let peer = SELVEDGE
        .iter()
        .chain(PEERS)
        .find(|p| p.id == id)
        .expect("a peer");
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a command");
    let words: Vec<&str> = line.split_whitespace().collect();
    let numbers: Vec<u32> = words[1..]
        .iter()
        .map(|w| w.parse().expect("a number"))
        .collect();
    match (words[0], &numbers[..]) {
        ("memory", &[workers]) => {
            let pool = (peer.make)(&plain(workers));
            let used = run::occupy(&*pool, workers);
            proc::all_asleep(Duration::from_secs(5));
            match proc::pss_kib() {
                Some(_) if used != f64::from(workers) => {
                    println!("error only {used} of {workers} jobs ran at the same time")
                }
                Some(pss) => println!("ok {pss} {used}"),
                None => println!("error no Pss in /proc/self/smaps_rollup"),
            }
        }
        ("reclaim", &[burst, idle_ms, timeouts]) => {
            let idle = Duration::from_millis(u64::from(idle_ms));
            let before = proc::threads();
            let pool = (peer.make)(&Setup {
                unbounded: true,
                idle: Some(idle),
                ..normal()
            });
            let (left, peak) = run::reclaim(&*pool, before, burst, idle, timeouts);
            println!("ok {left} {peak}");
        }
        _ => println!("error unknown command"),
    }
    // Taking hundreds of threads down tells nothing here.
    std::process::exit(0);
}
