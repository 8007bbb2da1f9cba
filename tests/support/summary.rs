//! Skips that cannot be overlooked: each is an ignored trial and a line of its own after the result, or a failure where
//! nothing may be skipped.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;
use std::sync::Mutex;

static SKIPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Ends a trial that cannot run here, and remembers why.
pub fn skip(name: &str, reason: &str) -> Result<Completion, Failed> {
    let reason = reason.trim();
    if std::env::var("SELV_NO_SKIP").is_ok_and(|value| value == "1") {
        return Err(
            format!("it cannot run here, and SELV_NO_SKIP=1 allows no skip: {reason}").into(),
        );
    }
    SKIPPED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .push(format!("SKIPPED {name}: {reason}"));
    Ok(Completion::ignored_with(reason))
}

/// Runs the trials; the lines on what was skipped come last.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    let mut skipped = SKIPPED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    skipped.sort();
    for line in skipped.iter() {
        println!("{line}");
    }
    conclusion.exit_code()
}
