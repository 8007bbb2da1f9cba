//! The pytest files in `bindings/python/tests/`, each on every Python that has an environment below `target/python`, from the installed
//! wheel: `python-3.12.1::test_cache`. What needs PyGObject runs on the system's Python: `python-3.11.2-system::test_glib`. A test that pytest
//! skips is told as SKIPPED with its reason, apart from the others of its file. A test that is not meant for a Python is deselected
//! there (`conftest.py` has the markers), and is no skip.
//!
//! A file may run for 120 seconds, or for what a line `# timeout: 300` among its first twelve says. `SELV_PYTEST` holds words for pytest.

mod support;

use libtest_mimic::{Completion, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use support::program::{self, Ended};
use support::{env_words, files_with_extension, root, runtimes, stem, summary};

const DEFAULT_TIMEOUT_S: u64 = 120;
/// So long before its end pytest tells where each thread is, and soon after is asked to stop, so that it tells of what failed before.
const TELL_BEFORE_S: u64 = 12;
const STOP_BEFORE_S: u64 = 10;
/// What pytest exits with if every test was deselected, or the whole file skipped.
const NOTHING_TO_RUN: i32 = 5;
/// What `timeout` exits with if it had to stop pytest.
const STOPPED: i32 = 124;
/// The environment of the system's Python, beside those that are named by their version.
const SYSTEM: &str = "system";

/// A Python with an environment, or one that should have one.
#[derive(Clone)]
struct Environment {
    /// `python-3.12.1`, `python-3.11.2-system`
    name: String,
    folder: PathBuf,
    is_newest: bool,
}

impl Environment {
    fn is_system(&self) -> bool {
        self.folder.ends_with(SYSTEM)
    }

    fn python(&self) -> PathBuf {
        self.folder.join("bin/python3")
    }

    /// Why nothing can run there.
    fn lack(&self) -> Option<String> {
        if !self.python().exists() {
            return Some(format!(
                "there is no {}: see what `tools/setup.sh test` says",
                self.folder.display()
            ));
        }
        if !self.folder.join("selvedge").exists() {
            return Some(format!(
                "no wheel is installed in {}: run `make python`",
                self.folder.display()
            ));
        }
        None
    }
}

fn main() -> ExitCode {
    match trials() {
        Ok(trials) => summary::run(trials),
        Err(reason) => {
            eprintln!("python tests: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>, String> {
    let mut trials = Vec::new();
    let sources: Vec<PathBuf> = files_with_extension(&root().join("bindings/python/tests"), "py")?
        .into_iter()
        .filter(|source| stem(source).starts_with("test_"))
        .collect();
    let environments = environments()?;
    if !environments.iter().any(|e| !e.is_system()) {
        trials.push(skipped("python", "no CPython 3.10 to 3.13 found"));
    }
    if !environments.iter().any(Environment::is_system) {
        let reason =
            "no environment for PyGObject: the system's Python has none, or is too old or too new";
        trials.push(skipped("python-system", reason));
    }
    for environment in environments {
        if let Some(reason) = environment.lack() {
            trials.push(skipped(&environment.name, &reason));
            continue;
        }
        for source in &sources {
            if environment.is_system() && !is_for_the_system(source)? {
                continue;
            }
            let name = format!("{}::{}", environment.name, stem(source));
            let (environment, source) = (environment.clone(), source.clone());
            trials.push(Trial::ignorable_test(name.clone(), move || {
                run_one(&name, &environment, &source)
            }));
        }
    }
    Ok(trials)
}

fn skipped(name: &str, reason: &str) -> Trial {
    let (skipped, reason) = (name.to_owned(), reason.to_owned());
    Trial::ignorable_test(name, move || summary::skip(&skipped, &reason))
}

fn environments() -> Result<Vec<Environment>, String> {
    let all = root().join("target/python");
    let mut pythons: Vec<_> = runtimes::found()?
        .into_iter()
        .filter(|runtime| runtime.kind == "python")
        .collect();
    pythons.sort_by_key(runtimes::Runtime::version_key);
    let newest = pythons.len();
    let mut environments: Vec<Environment> = pythons
        .iter()
        .enumerate()
        .map(|(i, python)| Environment {
            name: format!("python-{}", python.version),
            folder: all.join(&python.version),
            is_newest: i + 1 == newest,
        })
        .collect();
    let folder = all.join(SYSTEM);
    if folder.join("bin/python3").exists() {
        let mut python = Command::new(folder.join("bin/python3"));
        python.args([
            "-I",
            "-c",
            "import platform; print(platform.python_version())",
        ]);
        let version = program::output_of(&mut python)?;
        environments.push(Environment {
            name: format!("python-{}-{SYSTEM}", version.trim()),
            folder,
            is_newest: false,
        });
    }
    Ok(environments)
}

/// The files that hold a test for PyGObject, and those of the cache. `conftest.py` picks the tests.
fn is_for_the_system(source: &Path) -> Result<bool, String> {
    let text =
        fs::read_to_string(source).map_err(|e| format!("cannot read {}: {e}", source.display()))?;
    Ok(stem(source).starts_with("test_cache") || text.contains("mark.pygobject"))
}

fn timeout_of(source: &Path) -> Result<u64, String> {
    let text =
        fs::read_to_string(source).map_err(|e| format!("cannot read {}: {e}", source.display()))?;
    let own = text
        .lines()
        .take(12)
        .find_map(|line| line.strip_prefix("# timeout:"));
    let seconds: u64 = match own {
        Some(words) => words
            .trim()
            .parse()
            .map_err(|_| format!("{}: bad timeout \"{words}\"", source.display()))?,
        None => DEFAULT_TIMEOUT_S,
    };
    let factor: u64 = std::env::var("SELV_TIMEOUT_FACTOR")
        .ok()
        .and_then(|f| f.parse().ok())
        .unwrap_or(1);
    Ok(seconds * factor)
}

fn run_one(name: &str, environment: &Environment, source: &Path) -> Result<Completion, Failed> {
    let seconds = timeout_of(source)?;
    // pytest runs in a folder of its own: what a test leaves behind goes with it, and nothing of the project is on sys.path.
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let report = folder.path().join("report");
    let before_end = |before: u64| seconds.saturating_sub(before).max(1).to_string();
    let mut pytest = Command::new("timeout");
    pytest
        .current_dir(folder.path())
        .args(["--foreground", "--signal=INT"])
        .arg(before_end(STOP_BEFORE_S))
        .arg(environment.python())
        .args(["-m", "pytest", "--quiet", "--color=no", "--tb=short"])
        .args(env_words("SELV_PYTEST"))
        .arg(source)
        .env("SELV_PYTEST_REPORT", &report)
        .env("SELV_PYTEST_SECONDS", before_end(TELL_BEFORE_S))
        .env(
            "SELV_PYTEST_NEWEST",
            if environment.is_newest { "1" } else { "0" },
        )
        .env("TMPDIR", folder.path())
        // Nothing of the caller's, nothing of the user's, and no __pycache__ in the source tree.
        .env("PYTHONNOUSERSITE", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME")
        .env_remove("PYTEST_ADDOPTS")
        // cargo points this at a library of its own, and the one in the wheel is under test.
        .env_remove("LD_LIBRARY_PATH");
    let ended = program::run_command(&mut pytest, Duration::from_secs(seconds))?;
    judge(name, ended, &report)
}

/// What `conftest.py` reports: one line a test, its outcome, name and reason apart by tabs.
fn judge(name: &str, ended: Ended, report: &Path) -> Result<Completion, Failed> {
    let told = fs::read_to_string(report).unwrap_or_default();
    let (mut ran, mut deselected) = (0, 0);
    let mut skips = Vec::new();
    for line in told.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["ran", _, _] => ran += 1,
            ["deselected", _, _] => deselected += 1,
            ["skipped", test, reason] => skips.push((test, reason)),
            _ => return Err(format!("conftest.py told \"{line}\"").into()),
        }
    }
    if ended.status.code() == Some(STOPPED) {
        let told = &ended.output;
        return Err(format!("it did not end in time; it printed:\n{told}").into());
    }
    let ran_nothing = !ended.timed_out && ended.status.code() == Some(NOTHING_TO_RUN);
    if !ran_nothing {
        ended.into_result()?;
    }
    for (test, reason) in &skips {
        summary::skip(&format!("{name}::{test}"), reason)?;
    }
    match (ran, skips.first(), deselected) {
        (0, Some((_, reason)), _) => Ok(Completion::ignored_with(*reason)),
        (0, None, 0) => Err("pytest found no test in it".into()),
        (0, None, _) => Ok(Completion::ignored_with("it has no test for this Python")),
        _ => Ok(Completion::Completed),
    }
}
