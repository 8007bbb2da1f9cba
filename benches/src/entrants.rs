//! Who takes part in which scenario, and why the others do not.

use crate::peers::child::Child;
use crate::peers::native::{self, Native};
use crate::peers::rust::{Blocking, Rayon, StdThread, Threadpool, Tokio};
use crate::peers::selvedge::{check, Selvedge, Variant};
use crate::pool::{Pool, Setup};
use crate::scenarios::{self as run, ns_per, us_per, Sample, Sizes};
use crate::{attach, proc, selv};
use std::cell::RefCell;
use std::ffi::{c_void, CString};
use std::path::Path;
use std::process::Command;
use std::ptr::null_mut;
use std::rc::Rc;
use std::time::Duration;

/// One row: measured once in every round.
pub struct Entrant {
    pub id: String,
    pub label: String,
    /// Why the row cannot be measured, in place of how.
    pub run: Run,
}

pub type Measure = Box<dyn FnMut() -> Result<Sample, String>>;
pub type Run = Result<Measure, String>;

/// A pool in this process.
#[derive(Clone, Copy)]
struct NativePeer {
    id: &'static str,
    label: &'static str,
    kind: Kind,
    make: fn(&Setup) -> Box<dyn Pool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As many threads as it was made with.
    Fixed,
    /// Grows when no thread is idle.
    Growing,
    /// No pool: a thread for every job.
    NoPool,
}

/// A pool in a child process, by the argument that selects it.
#[derive(Clone, Copy)]
struct ManagedPeer {
    id: &'static str,
    label: &'static str,
    kind: Kind,
}

fn native_pool(id: &str, setup: &Setup) -> Box<dyn Pool> {
    Box::new(Native::new(native::find(id).expect("asked before"), setup))
}

fn selvedge_pool(setup: &Setup, variant: Variant) -> Box<dyn Pool> {
    Box::new(Selvedge::new(setup, variant))
}

const DEFAULT: Variant = Variant {
    no_spin: false,
    bounded: false,
    bulk: false,
    run: false,
};

const SELVEDGE: &[NativePeer] = &[
    NativePeer {
        id: "selvedge",
        label: "**Selvedge**",
        kind: Kind::Growing,
        make: |s| selvedge_pool(s, DEFAULT),
    },
    NativePeer {
        id: "selvedge-nospin",
        label: "Selvedge, spin off",
        kind: Kind::Growing,
        make: |s| {
            selvedge_pool(
                s,
                Variant {
                    no_spin: true,
                    ..DEFAULT
                },
            )
        },
    },
];

const SELVEDGE_RUN: NativePeer = NativePeer {
    id: "selvedge-run",
    label: "Selvedge, `selv_cache_run`",
    kind: Kind::Growing,
    make: |s| {
        selvedge_pool(
            s,
            Variant {
                run: true,
                ..DEFAULT
            },
        )
    },
};

const SELVEDGE_MAX: NativePeer = NativePeer {
    id: "selvedge-max",
    label: "Selvedge, `max_workers`",
    kind: Kind::Fixed,
    make: |s| {
        selvedge_pool(
            s,
            Variant {
                bounded: true,
                ..DEFAULT
            },
        )
    },
};

const SELVEDGE_BURST: &[NativePeer] = &[
    NativePeer {
        id: "selvedge-many",
        label: "Selvedge, `submit_many`",
        kind: Kind::Growing,
        make: |s| {
            selvedge_pool(
                s,
                Variant {
                    bulk: true,
                    ..DEFAULT
                },
            )
        },
    },
    NativePeer {
        id: "selvedge-max-many",
        label: "Selvedge, `max_workers` and `submit_many`",
        kind: Kind::Fixed,
        make: |s| {
            selvedge_pool(
                s,
                Variant {
                    bounded: true,
                    bulk: true,
                    ..DEFAULT
                },
            )
        },
    },
];

const PEERS: &[NativePeer] = &[
    NativePeer {
        id: "rayon",
        label: "rayon",
        kind: Kind::Fixed,
        make: |s| Box::new(Rayon::new(s)),
    },
    NativePeer {
        id: "tokio",
        label: "tokio `spawn_blocking`",
        kind: Kind::Growing,
        make: |s| Box::new(Tokio::new(s)),
    },
    NativePeer {
        id: "blocking",
        label: "blocking",
        kind: Kind::Growing,
        make: |_| Box::new(Blocking),
    },
    NativePeer {
        id: "threadpool",
        label: "threadpool",
        kind: Kind::Fixed,
        make: |s| Box::new(Threadpool::new(s)),
    },
    NativePeer {
        id: "std",
        label: "`std::thread` per job",
        kind: Kind::NoPool,
        make: |_| Box::new(StdThread),
    },
    NativePeer {
        id: "libuv",
        label: "libuv `uv_queue_work`",
        kind: Kind::Fixed,
        make: |s| native_pool("libuv", s),
    },
    NativePeer {
        id: "glib",
        label: "GLib `GThreadPool`",
        kind: Kind::Growing,
        make: |s| native_pool("glib", s),
    },
    NativePeer {
        id: "onetbb",
        label: "oneTBB",
        kind: Kind::Fixed,
        make: |s| native_pool("onetbb", s),
    },
    NativePeer {
        id: "asio",
        label: "Boost.Asio `thread_pool`",
        kind: Kind::Fixed,
        make: |s| native_pool("asio", s),
    },
    NativePeer {
        id: "bs",
        label: "BS::thread_pool",
        kind: Kind::Fixed,
        make: |s| native_pool("bs", s),
    },
    NativePeer {
        id: "rvaser",
        label: "thread_pool (libthread-pool-dev)",
        kind: Kind::Fixed,
        make: |s| native_pool("rvaser", s),
    },
];

/// Their threads outlive any pool object.
const PROCESS_WIDE: &[&str] = &["libuv", "blocking", "onetbb"];

const MANAGED: &[ManagedPeer] = &[
    ManagedPeer {
        id: "java",
        label: "Java cached pool",
        kind: Kind::Growing,
    },
    ManagedPeer {
        id: "trio",
        label: "Trio's cache (Python)",
        kind: Kind::Growing,
    },
    ManagedPeer {
        id: "futures",
        label: "Python `ThreadPoolExecutor`",
        kind: Kind::Fixed,
    },
];

/// Every name that `--peers` takes.
pub fn ids() -> Vec<&'static str> {
    let native = SELVEDGE
        .iter()
        .chain([&SELVEDGE_RUN, &SELVEDGE_MAX])
        .chain(SELVEDGE_BURST)
        .chain(PEERS);
    native
        .map(|p| p.id)
        .chain(MANAGED.iter().map(|p| p.id))
        .collect()
}

/// Is this row one that a fixed pool holds? GLib's pool is given a size for everything but reclaim.
pub fn is_fixed_pool(id: &str) -> bool {
    id == "glib" || PEERS.iter().any(|p| p.id == id && p.kind == Kind::Fixed)
}

fn plain(threads: u32) -> Setup {
    Setup {
        threads,
        unbounded: false,
        idle: None,
    }
}

fn normal() -> Setup {
    plain(proc::cpus() as u32)
}

/// The rows of one scenario, Selvedge's own first.
pub struct Cast {
    sizes: Sizes,
    root: &'static Path,
    children: Vec<(&'static str, SharedChild)>,
}

type SharedChild = Rc<RefCell<Option<Child>>>;

impl Cast {
    pub fn new(sizes: Sizes, root: &'static Path) -> Cast {
        let children = MANAGED.iter().map(|p| (p.id, Rc::default())).collect();
        Cast {
            sizes,
            root,
            children,
        }
    }

    pub fn rows(&self, scenario: &str) -> Vec<Entrant> {
        match scenario {
            "hooks" => self.hooks(),
            "attach-jvm" => attach::rows("jvm", self.root, self.sizes.attach_jobs),
            "attach-python" => attach::rows("python", self.root, self.sizes.attach_jobs),
            _ => self.pools(scenario),
        }
    }

    fn pools(&self, scenario: &str) -> Vec<Entrant> {
        let mut native: Vec<NativePeer> = SELVEDGE.to_vec();
        match scenario {
            "roundtrip" => native.push(SELVEDGE_RUN),
            "submitters-1" | "submitters-2" | "submitters-4" => native.push(SELVEDGE_MAX),
            "burst" => {
                native.push(SELVEDGE_MAX);
                native.extend(SELVEDGE_BURST);
            }
            "memory" | "reclaim" | "coldstart" => native.truncate(1),
            _ => {}
        }
        native.extend(PEERS);
        let native = native.into_iter().map(|peer| Entrant {
            id: peer.id.into(),
            label: peer.label.into(),
            run: self.native(scenario, peer),
        });
        let managed = MANAGED.iter().map(|peer| Entrant {
            id: peer.id.into(),
            label: peer.label.into(),
            run: self.managed(scenario, *peer),
        });
        native.chain(managed).collect()
    }

    fn native(&self, scenario: &str, peer: NativePeer) -> Run {
        if let Some((_, Err(reason))) = native::NATIVE.iter().find(|(id, _)| *id == peer.id) {
            return Err((*reason).into());
        }
        let sizes = self.sizes;
        let make = peer.make;
        let id = peer.id;
        /// A pool made, measured and taken down again, for scenarios that need no more.
        fn measured(
            make: fn(&Setup) -> Box<dyn Pool>,
            measure: impl Fn(&dyn Pool, usize) -> Sample + 'static,
        ) -> Measure {
            Box::new(move || {
                let before = proc::threads();
                let pool = make(&normal());
                let sample = measure(&*pool, before);
                drop(pool);
                proc::settle(before, Duration::from_millis(100));
                Ok(sample)
            })
        }
        Ok(match scenario {
            "one-cpu" => {
                let mut run = measured(make, move |pool, _| {
                    Sample::plain(us_per(
                        run::round_trips(pool, sizes.round_trips),
                        sizes.round_trips,
                    ))
                });
                if PROCESS_WIDE.contains(&id) {
                    return Err("its threads belong to the process, and to all CPUs".into());
                }
                // Threads inherit the affinity of the one that starts them.
                Box::new(move || proc::on_one_cpu(&mut run))
            }
            "roundtrip" => measured(make, move |pool, _| {
                Sample::plain(us_per(
                    run::round_trips(pool, sizes.round_trips),
                    sizes.round_trips,
                ))
            }),
            "sequential" => measured(make, move |pool, before| {
                let (time, threads) = run::sequential(pool, before, sizes.sequential);
                Sample::with_second(us_per(time, sizes.sequential), threads)
            }),
            "chain" => {
                let slow = ["std", "tokio"].contains(&id);
                let hops = if slow { sizes.slow_hops } else { sizes.hops };
                measured(make, move |pool, _| {
                    let (time, threads) = run::chain(pool, hops);
                    Sample::with_second(ns_per(time, hops), threads)
                })
            }
            "submitters-1" | "submitters-2" | "submitters-4" => {
                let submitters = scenario["submitters-".len()..].parse().expect("a number");
                measured(make, move |pool, _| {
                    let time = run::submitters(pool, submitters, sizes.round_trips);
                    Sample::plain(us_per(time, sizes.round_trips))
                })
            }
            "burst" => measured(make, move |pool, _| {
                let (time, threads) = run::bursts(pool, sizes.bursts, sizes.burst);
                Sample::with_second(ns_per(time, sizes.bursts * sizes.burst), threads)
            }),
            "coldstart" => {
                if PROCESS_WIDE.contains(&id) {
                    return Err("its threads belong to the process and cannot be made anew".into());
                }
                Box::new(move || {
                    let total = run::cold_start(&|| make(&normal()), sizes.cold_starts);
                    Ok(Sample::plain(us_per(total, sizes.cold_starts)))
                })
            }
            "reclaim" => {
                no_reclaim(peer.kind)?;
                // The crate's timeout is fixed; and threads within its limit outlive it all the same.
                let idle = if id == "blocking" {
                    Duration::from_millis(500)
                } else {
                    sizes.idle
                };
                let (burst, timeouts) = (sizes.reclaim_burst, sizes.idle_timeouts);
                let command = format!("reclaim {burst} {} {timeouts}", idle.as_millis());
                Box::new(move || {
                    let (left, peak) = process(id, &command)?;
                    Ok(Sample::with_second(left, peak))
                })
            }
            "memory" => {
                no_memory(peer.kind)?;
                if id == "rvaser" {
                    return Err(
                        "queues jobs behind busy threads, so its threads cannot all be occupied"
                            .into(),
                    );
                }
                Box::new(move || {
                    slope(sizes.workers, |workers| {
                        Ok(process(id, &format!("memory {workers}"))?.0)
                    })
                })
            }
            other => return Err(format!("no such scenario: {other}")),
        })
    }

    fn managed(&self, scenario: &str, peer: ManagedPeer) -> Run {
        let sizes = self.sizes;
        let root = self.root;
        let id = peer.id;
        managed_command(id, root)?;
        let child = self
            .children
            .iter()
            .find(|(name, _)| *name == id)
            .expect("made for each")
            .1
            .clone();
        // A child that lives as long as the run: its runtime's compiler warms up as it would in a long-lived program.
        let ask = move |command: &str| -> Result<(f64, f64), String> {
            let mut slot = child.borrow_mut();
            if slot.is_none() {
                *slot = Some(Child::start(&mut managed_command(id, root)?)?);
            }
            slot.as_mut().expect("just started").ask(command)
        };
        let per = |command: String, count: u32, scale: f64, second: bool| -> Measure {
            Box::new(move || {
                let (total, threads) = ask(&command)?;
                let value = total / f64::from(count) / scale;
                Ok(Sample {
                    value,
                    second: second.then_some(threads),
                })
            })
        };
        Ok(match scenario {
            "roundtrip" => per(
                format!("roundtrip {}", sizes.round_trips),
                sizes.round_trips,
                1e3,
                false,
            ),
            "sequential" => per(
                format!("sequential {}", sizes.sequential),
                sizes.sequential,
                1e3,
                true,
            ),
            "chain" => per(format!("chain {}", sizes.hops), sizes.hops, 1.0, true),
            "submitters-1" | "submitters-2" | "submitters-4" => {
                let submitters = &scenario["submitters-".len()..];
                per(
                    format!("submitters {submitters} {}", sizes.round_trips),
                    sizes.round_trips,
                    1e3,
                    false,
                )
            }
            "one-cpu" => return Err("its process runs on all CPUs".into()),
            "burst" => per(
                format!("burst {} {}", sizes.bursts, sizes.burst),
                sizes.bursts * sizes.burst,
                1.0,
                true,
            ),
            "coldstart" => per(
                format!("coldstart {}", sizes.cold_starts),
                sizes.cold_starts,
                1e3,
                false,
            ),
            "reclaim" => {
                no_reclaim(peer.kind)?;
                let (burst, timeouts) = (sizes.reclaim_burst, sizes.idle_timeouts);
                let command = format!("reclaim {burst} {} {timeouts}", sizes.idle.as_millis());
                // A process of its own: threads that other scenarios left idle must not be counted.
                Box::new(move || {
                    let (left, peak) =
                        Child::start(&mut managed_command(id, root)?)?.ask(&command)?;
                    Ok(Sample::with_second(left, peak))
                })
            }
            "memory" => Box::new(move || {
                slope(sizes.workers, |workers| {
                    let mut child = Child::start(&mut managed_command(id, root)?)?;
                    Ok(child.ask(&format!("memory {workers}"))?.0)
                })
            }),
            other => return Err(format!("no such scenario: {other}")),
        })
    }

    /// Selvedge against itself: the cheapest job there is, a hop of a chain, with more and more hooks registered.
    fn hooks(&self) -> Vec<Entrant> {
        let hops = self.sizes.hook_hops;
        let rows = [
            ("hooks-0", "no hook", 0, false),
            ("hooks-1", "1 hook, start and exit", 1, false),
            ("hooks-4", "4 hooks, start and exit", 4, false),
            (
                "hooks-1-around",
                "1 hook, with before and after each job",
                1,
                true,
            ),
            (
                "hooks-4-around",
                "4 hooks, with before and after each job",
                4,
                true,
            ),
        ];
        rows.into_iter()
            .map(|(id, label, count, around)| Entrant {
                id: id.into(),
                label: label.into(),
                run: Ok(Box::new(move || {
                    let pool = Selvedge::new(&normal(), DEFAULT);
                    let hooks: Vec<_> = (0..count).map(|i| register(&pool, i, around)).collect();
                    let (time, _) = run::chain(&pool, hops);
                    for hook in hooks {
                        let mut attached = 0;
                        // SAFETY: registered above, released once.
                        unsafe {
                            check(
                                selv::selv_hook_unregister(hook, 10_000_000_000, &mut attached),
                                "selv_hook_unregister",
                            );
                            selv::selv_hook_release(hook);
                        }
                    }
                    Ok(Sample::plain(ns_per(time, hops)))
                })),
            })
            .collect()
    }
}

fn no_reclaim(kind: Kind) -> Result<(), String> {
    match kind {
        Kind::Growing => Ok(()),
        Kind::Fixed => Err("a fixed pool neither grows nor shrinks".into()),
        Kind::NoPool => Err("keeps no idle thread".into()),
    }
}

fn no_memory(kind: Kind) -> Result<(), String> {
    if kind == Kind::NoPool {
        return Err("keeps no idle thread".into());
    }
    Ok(())
}

/// What one more worker costs, free of what the first ones cost (arenas, tables, the runtime itself).
fn slope(
    (few, many): (u32, u32),
    mut measure: impl FnMut(u32) -> Result<f64, String>,
) -> Result<Sample, String> {
    let (low, high) = (measure(few)?, measure(many)?);
    Ok(Sample::plain((high - low) / f64::from(many - few)))
}

/// Has one peer do one command in a process of its own, where every thread and every page is its.
fn process(id: &str, command: &str) -> Result<(f64, f64), String> {
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    Child::start(Command::new(this).args(["--child", id]))?.ask(command)
}

/// The other side of `process`.
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

fn managed_command(id: &str, root: &Path) -> Result<Command, String> {
    let peers = root.join("benches/peers");
    if id == "java" {
        let mut java = Command::new(attach::java().ok_or("no JDK found")?);
        java.arg(peers.join("CachedPool.java"));
        return Ok(java);
    }
    let python = root.join("target/runtimes/bench-venv/bin/python");
    if !python.exists() {
        return Err("target/runtimes/bench-venv is missing: run tools/setup.sh bench".into());
    }
    let mut command = Command::new(python);
    command.arg(peers.join("python_pools.py")).arg(id);
    Ok(command)
}

// ---- hooks that do nothing ----

unsafe extern "C" fn on_start(
    _: *mut c_void,
    _: *const selv::Worker,
    slot: *mut *mut c_void,
) -> i32 {
    *slot = null_mut();
    0
}
unsafe extern "C" fn on_exit(_: *mut c_void, _: *const selv::Worker, _: *mut c_void) {}
unsafe extern "C" fn before(_: *mut c_void, _: *const selv::Worker, _: *mut c_void) -> i32 {
    0
}
unsafe extern "C" fn after(_: *mut c_void, _: *const selv::Worker, _: *mut c_void) {}

fn register(pool: &Selvedge, number: u32, around: bool) -> *mut selv::Hook {
    let name = CString::new(format!("bench-{number}")).expect("no NUL");
    let mut options = selv::HookOptions::zeroed();
    options.struct_size = std::mem::size_of::<selv::HookOptions>() as u32;
    options.name = name.as_ptr();
    options.on_start = Some(on_start);
    options.on_exit = Some(on_exit);
    if around {
        options.before_job = Some(before);
        options.after_job = Some(after);
    }
    let mut hook = null_mut();
    // SAFETY: the name is copied by the call, and both pointers are to live locals.
    check(
        unsafe { selv::selv_hook_register(pool.cache(), &options, &mut hook) },
        "selv_hook_register",
    );
    hook
}
