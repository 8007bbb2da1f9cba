//! Every program in `c-tests/`, linked with the shared library, with the archive, compiled as C++17, and against a library
//! that is only dlopened. Each is one trial: `shared::hooks_order`. One trial more fails if an exported function is called
//! by none of them.

mod support;

use libtest_mimic::{Failed, Trial};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use support::program::{self, Program, Variant};
use support::{files_with_extension, header, require_library, root, stem, summary};

fn main() -> ExitCode {
    match trials() {
        Ok(trials) => summary::run(trials),
        Err(reason) => {
            eprintln!("c tests: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>, String> {
    require_library()?;
    let sources = files_with_extension(&root().join("c-tests"), "c")?;
    let mut trials = Vec::new();
    for source in &sources {
        for variant in program::variants_of(source)? {
            let source = source.clone();
            let name = format!("{}::{}", variant.name(), stem(&source));
            trials.push(Trial::test(name, move || Ok(run_one(&source, variant)?)));
        }
    }
    trials.push(Trial::test(
        "coverage::every_function_is_called_by_a_test",
        move || coverage(&sources),
    ));
    Ok(trials)
}

fn program_of(source: &Path, variant: Variant) -> Program<'_> {
    Program {
        source,
        variant,
        cflags: &[],
        ldflags: &[],
        output: Path::new(variant.name()).join(stem(source)),
    }
}

fn run_one(source: &Path, variant: Variant) -> Result<(), String> {
    let exe = program_of(source, variant).build()?;
    let out = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let env = [
        (
            "SELV_TEST_OUT".to_owned(),
            out.path().to_string_lossy().into_owned(),
        ),
        // glibc then fills what is freed with this byte: a use after free is seen without a sanitizer. Without its cache per
        // thread, or small pieces would keep what was in them.
        (
            "GLIBC_TUNABLES".to_owned(),
            "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0".to_owned(),
        ),
    ];
    program::run(&exe, &env, program::timeout_of(source)?)?.into_result()?;
    for trace in files_with_extension(out.path(), "json")? {
        check_trace(&trace).map_err(|e| format!("{}: {e}", trace.display()))?;
    }
    Ok(())
}

/// The undefined symbols of the programs are what they really call, whatever a comment says.
fn coverage(sources: &[PathBuf]) -> Result<(), Failed> {
    let mut called = BTreeSet::new();
    for source in sources {
        if program::variants_of(source)?.contains(&Variant::Shared) {
            let exe = program_of(source, Variant::Shared).build()?;
            let symbols = program::output_of(
                Command::new("nm")
                    .args(["-D", "--undefined-only", "--format=posix"])
                    .arg(exe),
            )?;
            called.extend(
                symbols
                    .lines()
                    .filter_map(|line| line.split([' ', '@']).next())
                    .map(str::to_owned),
            );
        }
    }
    let missing: Vec<String> = header::functions()?
        .into_iter()
        .filter(|f| !called.contains(f))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("no C test calls {}", missing.join(", ")).into())
}

/// A trace must be JSON that Perfetto takes: every lane named, every begin with its end, in order of time; and hold the names
/// that the program listed in the file beside it.
fn check_trace(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| format!("is no JSON: {e}"))?;
    let events = json
        .get("traceEvents")
        .unwrap_or(&json)
        .as_array()
        .ok_or("holds no list of events")?;
    let mut lanes: HashMap<(u64, u64), Lane> = HashMap::new();
    let mut names = BTreeSet::new();
    for event in events {
        let number = |key: &str| {
            event
                .get(key)
                .and_then(serde_json::Value::as_u64)
                .ok_or(format!("no {key} in {event}"))
        };
        let word = |key: &str| event.get(key).and_then(serde_json::Value::as_str);
        let phase = word("ph").ok_or(format!("no ph in {event}"))?;
        if phase == "M" && word("name") != Some("thread_name") {
            continue;
        }
        let lane = lanes.entry((number("pid")?, number("tid")?)).or_default();
        if phase == "M" {
            let name = event
                .pointer("/args/name")
                .and_then(serde_json::Value::as_str)
                .ok_or(format!("no name in {event}"))?;
            lane.name = Some(name.to_owned());
            continue;
        }
        let time = event
            .get("ts")
            .and_then(serde_json::Value::as_f64)
            .ok_or(format!("no ts in {event}"))?;
        names.extend(word("name").map(str::to_owned));
        lane.take(phase, word("name"), time)
            .map_err(|e| format!("{e}: {event}"))?;
    }
    let workers = lanes.values().filter(|lane| lane.events > 0).count();
    if workers == 0 {
        return Err("holds no event".to_owned());
    }
    for (id, lane) in &lanes {
        match (&lane.name, lane.open.as_slice()) {
            (None, _) if lane.events > 0 => return Err(format!("the lane {id:?} has no name")),
            (_, []) => {}
            (_, open) => return Err(format!("in the lane {id:?} these have no end: {open:?}")),
        }
    }
    let list = path.with_extension("").with_extension("expect");
    for wanted in std::fs::read_to_string(list).unwrap_or_default().lines() {
        if !names.iter().any(|name| name.contains(wanted)) {
            return Err(format!("has no event named \"{wanted}\", only {names:?}"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Lane {
    name: Option<String>,
    events: usize,
    open: Vec<String>,
    time: f64,
}

impl Lane {
    fn take(&mut self, phase: &str, name: Option<&str>, time: f64) -> Result<(), String> {
        if time < self.time {
            return Err(format!("time goes back from {} to {time}", self.time));
        }
        self.time = time;
        self.events += 1;
        match phase {
            "B" => self
                .open
                .push(name.ok_or("a begin without a name")?.to_owned()),
            "E" => {
                let begun = self.open.pop().ok_or("an end without a begin")?;
                if name.is_some_and(|name| name != begun) {
                    return Err(format!(
                        "the end of what is open as \"{begun}\" has another name"
                    ));
                }
            }
            "X" | "i" | "I" | "C" => {}
            other => return Err(format!("the phase \"{other}\" is not expected")),
        }
        Ok(())
    }
}
