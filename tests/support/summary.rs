//! What must not be overlooked behind the result. A skip is an ignored trial and a line of its own, or a failure where nothing
//! may be skipped. A program that passed can tell something, too: the lines that it begins with `report: `.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of whom, and what.
static LINES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn lines() -> MutexGuard<'static, Vec<(String, String)>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a trial that cannot run here, and remembers why.
pub fn skip(name: &str, reason: &str) -> Result<Completion, Failed> {
    let reason = reason.trim();
    if std::env::var("SELV_NO_SKIP").is_ok_and(|value| value == "1") {
        return Err(
            format!("it cannot run here, and SELV_NO_SKIP=1 allows no skip: {reason}").into(),
        );
    }
    lines().push((format!("SKIPPED {name}"), reason.to_owned()));
    Ok(Completion::ignored_with(reason))
}

/// Remembers what a program that passed has reported.
pub fn report(name: &str, output: &str) {
    let reports = output
        .lines()
        .filter_map(|line| line.strip_prefix("report: "));
    lines().extend(reports.map(|text| (format!("REPORT {name}"), text.to_owned())));
}

/// Runs the trials; what was reported and skipped comes last.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    let mut lines = lines();
    // By whose they are; the lines of one program stay in order.
    lines.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (whose, text) in lines.iter() {
        println!("{whose}: {text}");
    }
    conclusion.exit_code()
}
