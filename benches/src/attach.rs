//! Attach and detach around every job against hooks that attach a worker once, with a real JVM and a real CPython. The C programs
//! under `attach/` do both; each is a process of its own because a runtime cannot be started twice.

use crate::entrants::Entrant;
use crate::peers::child::Child;
use crate::scenarios::{us_per, Sample};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

pub struct Program {
    path: &'static str,
    version: &'static str,
    env: &'static str,
    home: &'static str,
}

// `ATTACH`: the program for each kind of runtime, or why there is none.
include!(concat!(env!("OUT_DIR"), "/attach.rs"));

fn program(kind: &str) -> Result<&'static Program, &'static str> {
    ATTACH
        .iter()
        .find(|(name, _)| *name == kind)
        .map_or(Err("unknown runtime"), |(_, found)| match found {
            Ok(program) => Ok(program),
            Err(reason) => Err(reason),
        })
}

/// The `java` to run: that of the JDK found, else the one in PATH.
pub fn java() -> Option<PathBuf> {
    let found = program("jvm")
        .ok()
        .map(|jvm| Path::new(jvm.home).join("bin/java"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    found
        .into_iter()
        .chain(std::env::split_paths(&path).map(|folder| folder.join("java")))
        .find(|java| java.exists())
}

pub fn versions() -> Vec<String> {
    ["jvm", "python"]
        .into_iter()
        .filter_map(|kind| Some(format!("{kind} {}", program(kind).ok()?.version)))
        .collect()
}

/// The rows of one runtime, sharing one process.
pub fn rows(kind: &'static str, root: &'static Path, jobs: u32) -> Vec<Entrant> {
    let names = [
        ("none", "no call, the hand-off alone", "none"),
        ("hooks", "**Selvedge** with the preset's hooks", "hooks"),
        ("per-job", "attach and detach in every job", "perjob"),
    ];
    rows_of(kind, &names, root, jobs)
}

/// For Python once more, with the row of an extension that knows nothing of Selvedge, on a worker that keeps its state.
pub fn callback_rows(root: &'static Path, jobs: u32) -> Vec<Entrant> {
    let names = [
        (
            "hooks",
            "**Selvedge** `selv_python_begin`, state kept",
            "hooks",
        ),
        (
            "kept",
            "Selvedge, `PyGILState_Ensure`, state kept",
            "ensurekept",
        ),
        ("per-job", "`PyGILState_Ensure`, no state kept", "perjob"),
    ];
    rows_of("python", &names, root, jobs)
}

fn rows_of(
    kind: &'static str,
    names: &[(&'static str, &'static str, &'static str)],
    root: &'static Path,
    jobs: u32,
) -> Vec<Entrant> {
    let child: Rc<RefCell<Option<Child>>> = Rc::default();
    let row = |id: &str, label: &str, command: &'static str| {
        let child = child.clone();
        Entrant {
            id: format!("{kind}-{id}"),
            label: label.into(),
            run: program(kind).map_err(str::to_string).map(|program| {
                Box::new(move || {
                    let mut slot = child.borrow_mut();
                    if slot.is_none() {
                        *slot = Some(start(program, root)?);
                    }
                    let child = slot.as_mut().expect("just started");
                    let (total, _) = child.ask(&format!("{command} {jobs}"))?;
                    Ok(Sample::plain(us_per(
                        Duration::from_nanos(total as u64),
                        jobs,
                    )))
                }) as Box<dyn FnMut() -> Result<Sample, String>>
            }),
        }
    };
    names
        .iter()
        .map(|(id, label, command)| row(id, label, command))
        .collect()
}

fn start(program: &Program, root: &Path) -> Result<Child, String> {
    let mut command = Command::new(program.path);
    command.current_dir(root);
    for pair in program.env.split_whitespace() {
        if let Some((name, value)) = pair.split_once('=') {
            command.env(name, value);
        }
    }
    Child::start(&mut command)
}
