//! The programs in `c-tests/runtimes/`, each against every runtime of its kind on this machine: `jvm-17.0.12::attach`. One
//! whose name begins with several kinds (`jvm_python_locks_ring.c`) runs with one of each, and so often that every runtime of these
//! kinds has its turn: `jvm-17.0.12::python-3.12.1_locks_ring`. A program that exits with 77 could not run and is told as SKIPPED; so
//! is a kind of which no runtime was found. Lines of a passing program that begin with `report: ` are shown at the end.

mod support;

use libtest_mimic::{Completion, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use support::program::{self, Ended, Program, Variant};
use support::runtimes::{self, KINDS, Runtime};
use support::{files_with_extension, out_dir, require_library, root, stem, summary};

/// Exit status of a program that found that it cannot run here.
const CANNOT_RUN: i32 = 77;
const COMPILE_TIMEOUT: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    match trials() {
        Ok(trials) => summary::run(trials),
        Err(reason) => {
            eprintln!("runtime tests: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>, String> {
    require_library()?;
    let found = Arc::new(runtimes::found()?);
    let sources = files_with_extension(&root().join("c-tests/runtimes"), "c")?;
    let mut trials = Vec::new();
    for source in sources {
        let name = stem(&source);
        let kinds: Vec<&str> = name.split('_').map_while(known_kind).collect();
        if kinds.is_empty() {
            let reason = format!(
                "{}: its name must begin with one of {KINDS:?}",
                source.display()
            );
            trials.push(Trial::test(format!("misnamed::{name}"), move || {
                Err(reason.into())
            }));
            continue;
        }
        for hosted in together(&kinds, &found) {
            let name = trial_name(&name, &kinds, &hosted);
            if hosted.len() < kinds.len() {
                let reason = format!("it needs all of {kinds:?}");
                trials.push(Trial::ignorable_test(name.clone(), move || {
                    summary::skip(&name, &reason)
                }));
                continue;
            }
            let (trial, found, source) = (name.clone(), Arc::clone(&found), source.clone());
            trials.push(Trial::ignorable_test(name, move || {
                run_one(&trial, &source, &hosted, &found)
            }));
        }
    }
    for kind in KINDS {
        if !found.iter().any(|runtime| runtime.kind == kind) {
            let reason = format!("no {kind} found by tools/find-runtimes.sh");
            trials.push(Trial::ignorable_test(kind, move || {
                summary::skip(kind, &reason)
            }));
        }
    }
    Ok(trials)
}

fn known_kind(word: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| *kind == word)
}

/// One runtime of each kind at a time, in the order of `kinds`, until every one of each has had its turn. None at all where the first
/// kind is missing, which is told once and not for each program; a set lacks the other kinds of which there is none.
fn together(kinds: &[&str], found: &[Runtime]) -> Vec<Vec<Runtime>> {
    let of_kind: Vec<Vec<&Runtime>> = kinds
        .iter()
        .map(|kind| found.iter().filter(|r| r.kind == *kind).collect())
        .collect();
    if of_kind[0].is_empty() {
        return Vec::new();
    }
    let turns = of_kind.iter().map(Vec::len).max().unwrap_or(0);
    let nth = |turn: usize| {
        of_kind
            .iter()
            .filter(|runtimes| !runtimes.is_empty())
            .map(|runtimes| runtimes[turn % runtimes.len()].clone())
            .collect()
    };
    (0..turns).map(nth).collect()
}

/// `jvm_python_locks_ring` on two of them: `jvm-17.0.12::python-3.12.1_locks_ring`.
fn trial_name(program: &str, kinds: &[&str], hosted: &[Runtime]) -> String {
    let behaviour = program.split('_').skip(kinds.len()).map(str::to_owned);
    let words: Vec<String> = hosted[1..]
        .iter()
        .map(|runtime| format!("{}-{}", runtime.kind, runtime.version))
        .chain(behaviour)
        .collect();
    format!("{}-{}::{}", kinds[0], hosted[0].version, words.join("_"))
}

/// `hosted`: what the program embeds, the runtime that names the trial first.
fn run_one(
    name: &str,
    source: &Path,
    hosted: &[Runtime],
    found: &[Runtime],
) -> Result<Completion, Failed> {
    let folder: Vec<String> = hosted
        .iter()
        .map(|runtime| format!("{}-{}", runtime.kind, runtime.version))
        .collect();
    let output = Path::new("runtimes")
        .join(folder.join("_"))
        .join(stem(source));
    let cflags: Vec<String> = hosted.iter().flat_map(|r| r.cflags.clone()).collect();
    let ldflags: Vec<String> = hosted.iter().flat_map(|r| r.ldflags.clone()).collect();
    let exe = Program {
        source,
        variant: Variant::Shared,
        cflags: &cflags,
        ldflags: &ldflags,
        output,
    }
    .build()?;
    let mut env = Vec::new();
    for runtime in hosted {
        env.extend(runtime.env.clone());
        let mut set = |name: &str, value: &Path| {
            env.push((name.to_owned(), value.to_string_lossy().into_owned()))
        };
        match runtime.kind.as_str() {
            "python" => {
                set("SELV_PYTHON", Path::new(&runtime.extra));
                set("SELV_PYTHON_PACKAGES", &python_packages(runtime));
            }
            "jvm" => set("SELV_JAVA_CLASSES", &java_classes(found)?),
            "coreclr" => {
                set("SELV_CORECLR_DIR", Path::new(&runtime.extra));
                set("SELV_CLR_ASSEMBLY", &coreclr_assembly(runtime, found)?);
            }
            _ => {}
        }
    }
    judge(
        name,
        program::run(&exe, &env, program::timeout_of(source)?)?,
    )
}

/// Passed, failed, or by its exit status unable to run, for the reason in its last line. What it reports is shown if it has passed.
fn judge(name: &str, ended: Ended) -> Result<Completion, Failed> {
    if !ended.timed_out && ended.status.code() == Some(CANNOT_RUN) {
        let reason = ended
            .output
            .lines()
            .last()
            .unwrap_or("it gave no reason")
            .to_owned();
        return summary::skip(name, &reason);
    }
    let output = ended.output.clone();
    ended.into_result()?;
    summary::report(name, &output);
    Ok(Completion::Completed)
}

/// Compiles once for all trials: what the first of them finds out holds for the others.
fn once(
    cell: &OnceLock<Result<PathBuf, String>>,
    make: impl FnOnce() -> Result<PathBuf, String>,
) -> Result<PathBuf, String> {
    cell.get_or_init(make).clone()
}

fn compile(command: &mut Command) -> Result<(), String> {
    let line = format!("{command:?}");
    program::run_command(command, COMPILE_TIMEOUT)?
        .into_result()
        .map_err(|e| format!("{line}: {e}"))
}

/// Where `tools/setup.sh test` puts what the tests of this Python import.
fn python_packages(runtime: &Runtime) -> PathBuf {
    root()
        .join("target/runtimes/python-packages")
        .join(&runtime.version)
}

/// The oldest JDK compiles: its classes are understood by all the others.
fn java_classes(found: &[Runtime]) -> Result<PathBuf, String> {
    static CLASSES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&CLASSES, || {
        let oldest = found
            .iter()
            .filter(|r| r.kind == "jvm")
            .min_by_key(|r| r.version_key())
            .ok_or("no JDK")?;
        let classes = fresh_dir("java-classes")?;
        let sources = files_with_extension(&root().join("c-tests/runtimes/java"), "java")?;
        let javac = Path::new(&oldest.extra).join("bin/javac");
        compile(
            Command::new(javac)
                .arg("-Xlint:all")
                .arg("-d")
                .arg(&classes)
                .args(sources),
        )?;
        Ok(classes)
    })
}

/// Mono's compiler, against the reference assemblies of the CoreCLR that will run the result.
fn coreclr_assembly(runtime: &Runtime, found: &[Runtime]) -> Result<PathBuf, String> {
    static ASSEMBLY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    once(&ASSEMBLY, || {
        let mcs = found
            .iter()
            .find(|r| r.kind == "mono")
            .map_or("mcs", |r| r.extra.as_str());
        let clr = Path::new(&runtime.extra);
        let reference = |file: &str| format!("-r:{}", clr.join(file).display());
        let mut command = Command::new(mcs);
        command.args(["-target:library", "-nostdlib", "-noconfig"]);
        command.args([
            reference("System.Private.CoreLib.dll"),
            reference("System.Runtime.dll"),
        ]);
        let sources = files_with_extension(&root().join("c-tests/runtimes/clr"), "cs")?;
        let first = sources
            .first()
            .ok_or("no C# source in c-tests/runtimes/clr")?;
        let dll = fresh_dir("coreclr-assembly")?
            .join(stem(first))
            .with_extension("dll");
        compile(
            command
                .arg(format!("-out:{}", dll.display()))
                .args(&sources),
        )?;
        Ok(dll)
    })
}

fn fresh_dir(name: &str) -> Result<PathBuf, String> {
    let dir = out_dir().join("runtimes").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)
            .map_err(|e| format!("cannot empty {}: {e}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    Ok(dir)
}
