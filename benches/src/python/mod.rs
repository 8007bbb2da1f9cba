//! The suite of the Python package: its thread cache, executor, locks and interpreters beside Trio's and Python's own, in one Python.

pub mod marks;

use crate::attach;
use crate::entrants::{Entrant, Measure};
use crate::peers::child::Child;
use crate::scenarios::{scenario, Sample, Scenario};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "python-roundtrip",
        "A job and back: `start_thread_soon`",
        "µs per job",
        "",
    ),
    scenario(
        "python-chain",
        "Chain: `deliver` starts the next job",
        "µs per hop",
        "threads used",
    ),
    scenario(
        "python-burst",
        "Burst of 1,000 empty jobs",
        "µs per job",
        "threads used",
    ),
    scenario(
        "python-future",
        "A future: `submit(f).result()`",
        "µs per job",
        "",
    ),
    scenario("python-map", "`map` over 1,000 items", "µs per item", ""),
    scenario(
        "python-asyncio",
        "asyncio: `await loop.run_in_executor(…)`",
        "µs per job",
        "",
    ),
    scenario(
        "python-trio",
        "Trio: `await trio.to_thread.run_sync(…)`",
        "µs per job",
        "",
    ),
    Scenario {
        reference: "python-hooks",
        ..scenario(
            "python-callback",
            "A callback into Python from a C job",
            "µs per callback",
            "",
        )
    },
    scenario(
        "python-lock",
        "`acquire()` and `release()`, nobody else there",
        "ns per pair",
        "",
    ),
    scenario(
        "python-with",
        "`with lock:`, nobody else there",
        "ns per pair",
        "",
    ),
    scenario(
        "python-await",
        "`async with lock:`, nobody else there",
        "µs per pair",
        "",
    ),
    Scenario {
        reference: "selvedge-1",
        ..scenario(
            "python-parallel",
            "8 pieces of pure Python, all processor",
            "ms for all",
            "",
        )
    },
];

/// How much one round does.
#[derive(Clone, Copy)]
pub struct Sizes {
    jobs: u32,
    hops: u32,
    bursts: u32,
    callbacks: u32,
    pairs: u32,
    awaits: u32,
    /// Steps of the loop in each of the eight pieces.
    steps: u32,
}

pub const FULL: Sizes = Sizes {
    jobs: 2_000,
    hops: 5_000,
    bursts: 5,
    callbacks: 3_000,
    pairs: 100_000,
    awaits: 5_000,
    steps: 400_000,
};

pub const QUICK: Sizes = Sizes {
    jobs: 300,
    hops: 500,
    bursts: 1,
    callbacks: 500,
    pairs: 10_000,
    awaits: 500,
    steps: 50_000,
};

const BURST: u32 = 1_000;
const PIECES: u32 = 8;

/// Every name that `--peers` takes, but for Selvedge's own rows.
pub const PEERS: &[&str] = &[
    "trio",
    "futures",
    "thread",
    "lock",
    "rlock",
    "asyncio",
    "threads-2",
    "processes-2",
];

type Children = Rc<RefCell<HashMap<String, Child>>>;

pub struct Cast {
    sizes: Sizes,
    root: &'static Path,
    python: Result<PathBuf, String>,
    /// By script and argument.
    children: Children,
}

impl Cast {
    pub fn new(quick: bool, root: &'static Path) -> Cast {
        Cast {
            sizes: if quick { QUICK } else { FULL },
            root,
            python: python_with_wheel(root),
            children: Rc::default(),
        }
    }

    pub fn rows(&self, scenario: &str) -> Vec<Entrant> {
        let sizes = self.sizes;
        let (jobs, hops, bursts) = (sizes.jobs, sizes.hops, sizes.bursts);
        match scenario {
            "python-roundtrip" => self.pools(CACHES, &format!("roundtrip {jobs}"), jobs, false),
            "python-chain" => {
                let (thread, pools) = CACHES.split_last().expect("not empty");
                let mut rows = self.pools(pools, &format!("chain {hops}"), hops, true);
                // A thread for each hop takes long.
                let few = hops / 10;
                rows.extend(self.pools(&[*thread], &format!("chain {few}"), few, true));
                rows
            }
            "python-burst" => {
                let command = format!("burst {bursts} {BURST}");
                let mut names = CACHES.to_vec();
                names.insert(1, ("selvedge-max", "Selvedge, `max_workers`"));
                self.pools(&names, &command, bursts * BURST, true)
            }
            "python-future" => self.faces(EXECUTORS, &format!("future {jobs}"), jobs, 1e3),
            "python-map" => {
                let command = format!("results {bursts} {BURST}");
                self.faces(EXECUTORS, &command, bursts * BURST, 1e3)
            }
            "python-asyncio" => self.faces(EXECUTORS, &format!("in_asyncio {jobs}"), jobs, 1e3),
            "python-trio" => self.faces(
                &[
                    (
                        "selvedge",
                        "trio-selvedge",
                        "**Selvedge** installed in Trio",
                    ),
                    ("trio", "trio", "Trio's own cache"),
                ],
                &format!("in_trio {jobs}"),
                jobs,
                1e3,
            ),
            "python-callback" => attach::callback_rows(self.root, sizes.callbacks),
            "python-lock" => self.locks("pairs", LOCKS, sizes.pairs, 1.0),
            "python-with" => self.locks("withs", LOCKS, sizes.pairs, 1.0),
            "python-await" => self.locks("awaits", AWAITED, sizes.awaits, 1e3),
            "python-parallel" => {
                let command = format!("pieces {PIECES} {}", sizes.steps);
                let row = |(id, argument, label): &Face| {
                    let ask = self.ask_new("python_faces.py", argument, command.clone());
                    entrant(id, label, ask.map(|ask| per(ask, 1, 1e6)))
                };
                PARALLEL.iter().map(row).collect()
            }
            other => unreachable!("no such scenario: {other}"),
        }
    }

    /// Rows of `peers/python_pools.py`; with the threads used as their second number, or without.
    fn pools(&self, names: &[Name], command: &str, count: u32, threads: bool) -> Vec<Entrant> {
        let row = |(id, label): &Name| {
            let ask = self.ask("python_pools.py", id, command.into());
            let measure = |mut ask: Ask| -> Measure {
                Box::new(move || {
                    let (total, used) = ask()?;
                    Ok(Sample {
                        value: total / f64::from(count) / 1e3,
                        second: threads.then_some(used),
                    })
                })
            };
            entrant(id, label, ask.map(measure))
        };
        names.iter().map(row).collect()
    }

    /// Rows of `peers/python_faces.py`, each with the argument that makes it a process of its own.
    fn faces(&self, names: &[Face], command: &str, count: u32, scale: f64) -> Vec<Entrant> {
        let row = |(id, argument, label): &Face| {
            let ask = self.ask("python_faces.py", argument, command.into());
            entrant(id, label, ask.map(|ask| per(ask, count, scale)))
        };
        names.iter().map(row).collect()
    }

    /// Locks share one process: what nobody else wants costs the others nothing.
    fn locks(&self, way: &str, names: &[Face], count: u32, scale: f64) -> Vec<Entrant> {
        let row = |(id, kind, label): &Face| {
            let ask = self.ask("python_faces.py", "locks", format!("{way} {kind} {count}"));
            entrant(id, label, ask.map(|ask| per(ask, count, scale)))
        };
        names.iter().map(row).collect()
    }

    /// How to ask one process, which starts when it is first asked and lives as long as the run.
    fn ask(&self, script: &str, argument: &str, command: String) -> Result<Ask, String> {
        let (python, children) = (self.python.clone()?, self.children.clone());
        let script = self.root.join("benches/peers").join(script);
        let key = format!("{} {argument}", script.display());
        let argument = argument.to_string();
        Ok(Box::new(move || {
            let mut children = children.borrow_mut();
            if !children.contains_key(&key) {
                let child = Child::start(Command::new(&python).arg(&script).arg(&argument))?;
                children.insert(key.clone(), child);
            }
            children.get_mut(&key).expect("just started").ask(&command)
        }))
    }

    /// How to ask a new process each time: in some, two interpreters get in each other's way for as long as it lives, in most they do not.
    fn ask_new(&self, script: &str, argument: &str, command: String) -> Result<Ask, String> {
        let python = self.python.clone()?;
        let script = self.root.join("benches/peers").join(script);
        let argument = argument.to_string();
        Ok(Box::new(move || {
            Child::start(Command::new(&python).arg(&script).arg(&argument))?.ask(&command)
        }))
    }
}

type Ask = Box<dyn FnMut() -> Result<(f64, f64), String>>;
/// Its id and its label.
type Name = (&'static str, &'static str);
/// Its id, what the script calls it, its label.
type Face = (&'static str, &'static str, &'static str);

/// The last one starts a thread for every job.
const CACHES: &[Name] = &[
    ("selvedge", "**Selvedge** `start_thread_soon`"),
    ("selvedge-executor", "Selvedge `Executor.submit`"),
    ("trio", "Trio's cache"),
    ("futures", "`ThreadPoolExecutor.submit`"),
    ("thread", "`threading.Thread` per job"),
];

const EXECUTORS: &[Face] = &[
    ("selvedge", "executor", "**Selvedge** `Executor`"),
    ("futures", "futures", "`ThreadPoolExecutor`"),
];

const LOCKS: &[Face] = &[
    ("selvedge", "selvedge", "**Selvedge** `sync.Lock`"),
    ("selvedge-rlock", "selvedge-rlock", "Selvedge `sync.RLock`"),
    ("lock", "lock", "`threading.Lock`"),
    ("rlock", "rlock", "`threading.RLock`"),
];

const AWAITED: &[Face] = &[
    ("selvedge", "selvedge-trio", "**Selvedge** `trio.Lock`"),
    ("selvedge-aio", "selvedge-aio", "Selvedge `aio.Lock`"),
    ("trio", "trio", "Trio's `trio.Lock`"),
    ("asyncio", "asyncio", "`asyncio.Lock`"),
];

const PARALLEL: &[Face] = &[
    ("selvedge-1", "interpreters-1", "Selvedge, 1 interpreter"),
    (
        "selvedge-2",
        "interpreters-2",
        "**Selvedge**, 2 interpreters",
    ),
    ("threads-2", "threads-2", "2 threads, 1 interpreter"),
    (
        "processes-2",
        "processes-2",
        "`ProcessPoolExecutor`, 2 processes",
    ),
];

fn entrant(id: &str, label: &str, run: Result<Measure, String>) -> Entrant {
    Entrant {
        id: id.into(),
        label: label.into(),
        run,
    }
}

fn per(mut ask: Ask, count: u32, scale: f64) -> Measure {
    Box::new(move || Ok(Sample::plain(ask()?.0 / f64::from(count) / scale)))
}

/// The newest of the environments that the tests use, by the version that is the name of its folder: all rows run in it, so that none has
/// the better Python.
fn python_with_wheel(root: &Path) -> Result<PathBuf, String> {
    let folder = root.join("target/python");
    let version = |name: &str| -> Option<Vec<u32>> {
        name.split('.').map(|part| part.parse().ok()).collect()
    };
    let mut found: Vec<(Vec<u32>, PathBuf)> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = version(entry.file_name().to_str()?)?;
            Some((version, entry.path().join("bin/python3")))
        })
        .collect();
    found.sort();
    let has_both = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", "import selvedge, trio"]);
        command.output().is_ok_and(|o| o.status.success())
    };
    let missing = format!(
        "no environment below {} has selvedge and trio",
        folder.display()
    );
    let mut newest_first = found.into_iter().rev().map(|(_, python)| python);
    newest_first.find(has_both).ok_or(missing)
}

/// Of what the rows ran on.
pub fn version(root: &Path) -> Option<String> {
    let program = "import platform; from importlib.metadata import version
print(\"CPython\", platform.python_version() + \", Trio\", version(\"trio\"))";
    let output = Command::new(python_with_wheel(root).ok()?)
        .args(["-c", program])
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
