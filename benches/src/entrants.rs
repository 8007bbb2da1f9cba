//! Who takes part in which scenario of the pools, and why the others do not.

use crate::peers::child::Child;
use crate::peers::list::*;
use crate::peers::native;
use crate::pool::{Pool, Setup};
use crate::scenarios::{self as run, ns_per, us_per, Sample, Sizes};
use crate::{attach, hooks, proc, process};
use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
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
            "hooks" => hooks::rows(self.sizes.hook_hops),
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
                    let time = run::cold_start(&|| make(&normal()), sizes.cold_starts);
                    Ok(Sample::plain(us_per(time, 1)))
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
                    let (left, peak) = process::ask(id, &command)?;
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
                        Ok(process::ask(id, &format!("memory {workers}"))?.0)
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
            "coldstart" => per(format!("coldstart {}", sizes.cold_starts), 1, 1e3, false),
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

fn managed_command(id: &str, root: &Path) -> Result<Command, String> {
    if id == "java" {
        let mut java = Command::new(attach::java().ok_or("no JDK found")?);
        java.arg(root.join("benches/peers/CachedPool.java"));
        return Ok(java);
    }
    let mut command = python(root, "python_pools.py")?;
    command.arg(id);
    Ok(command)
}

/// One of the programs in `peers/`, in the Python that has the peers.
pub fn python(root: &Path, script: &str) -> Result<Command, String> {
    let python = root.join("target/runtimes/bench-venv/bin/python");
    if !python.exists() {
        return Err("target/runtimes/bench-venv is missing: run tools/setup.sh bench".into());
    }
    let mut command = Command::new(python);
    command.arg(root.join("benches/peers").join(script));
    Ok(command)
}
