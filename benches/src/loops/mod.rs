//! The suite of host loops and guests: what is measured, how much of it, and who takes part.

mod calls;
mod face;
mod guest;
pub mod marks;

use crate::entrants::{python, Entrant, Measure, Run};
use crate::peers::child::Child;
use crate::proc;
use crate::scenarios::{ns_per, scenario, us_per, Sample, Scenario};
use calls::Place;
use face::Vtable;
use guest::Ready;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "loop-latency",
        "A call into a sleeping loop, from another CPU",
        "µs until it runs",
        "",
    ),
    scenario(
        "loop-latency-one-cpu",
        "A call into a sleeping loop, everything on one CPU",
        "µs until it runs",
        "",
    ),
    scenario(
        "loop-stream-1",
        "1 thread calls as fast as it can",
        "ns per call",
        "",
    ),
    scenario(
        "loop-stream-4",
        "4 threads call as fast as they can",
        "ns per call",
        "",
    ),
    scenario(
        "loop-here-1",
        "On the loop's own thread, 1 call in each pass",
        "ns per call",
        "",
    ),
    scenario(
        "loop-here-100",
        "On the loop's own thread, 100 calls in each pass",
        "ns per call",
        "",
    ),
    scenario(
        "loop-call",
        "A call that waits, from another CPU",
        "µs per call",
        "",
    ),
    scenario(
        "loop-call-one-cpu",
        "A call that waits, everything on one CPU",
        "µs per call",
        "",
    ),
    scenario(
        "loop-job-1",
        "A job whose outcome comes to the loop",
        "µs per job",
        "",
    ),
    scenario("loop-job-100", "100 such jobs under way", "µs per job", ""),
    scenario(
        "guest-idle",
        "A guest's pass, an idle handle ready",
        "ns per pass",
        "",
    ),
    scenario(
        "guest-timer",
        "A guest's pass, a timer of 0 ms ready",
        "ns per pass",
        "",
    ),
    scenario(
        "guest-echo",
        "TCP echo served by a guest",
        "µs per round trip",
        "",
    ),
    scenario(
        "guest-echo-one-cpu",
        "TCP echo served by a guest, everything on one CPU",
        "µs per round trip",
        "",
    ),
];

/// How much one round does.
#[derive(Clone, Copy)]
pub struct Sizes {
    latencies: u32,
    stream: u32,
    here: u32,
    calls: u32,
    jobs: u32,
    passes: u32,
    trips: u32,
    /// Python gets so many times less of what takes it long.
    python_less: u32,
}

pub const FULL: Sizes = Sizes {
    latencies: 400,
    stream: 40_000,
    here: 40_000,
    calls: 1_000,
    jobs: 1_000,
    passes: 20_000,
    trips: 1_000,
    python_less: 8,
};

pub const QUICK: Sizes = Sizes {
    latencies: 80,
    stream: 8_000,
    here: 8_000,
    calls: 200,
    jobs: 200,
    passes: 4_000,
    trips: 200,
    ..FULL
};

/// Every name that `--peers` takes, but for Selvedge's own rows.
pub const PEERS: &[&str] = &[
    "glib-idle",
    "glib-invoke",
    "libuv",
    "libuv-bare",
    "asio",
    "asyncio",
    "native",
    "backend-epoll",
    "backend-glib",
    "trio",
    "trio-guest",
];

type SharedChild = Rc<RefCell<Option<Child>>>;

pub struct Cast {
    sizes: Sizes,
    root: &'static Path,
    python: SharedChild,
}

impl Cast {
    pub fn new(quick: bool, root: &'static Path) -> Cast {
        Cast {
            sizes: if quick { QUICK } else { FULL },
            root,
            python: Rc::default(),
        }
    }

    pub fn rows(&self, scenario: &str) -> Vec<Entrant> {
        let sizes = self.sizes;
        let python_less = |count: u32| count / sizes.python_less;
        match scenario {
            "loop-latency" | "loop-latency-one-cpu" => {
                let (place, count) = (place(scenario), sizes.latencies);
                let mut names = own();
                names.extend(CALL_SOON);
                names.push(("libuv-bare", "libuv `uv_async_send`, no queue"));
                let mut rows = each(
                    names,
                    |_| Ok(()),
                    move |vtable| Ok(us_per(calls::latency(vtable, place, count)?, 1)),
                );
                let command = format!("latency {count} {}", place.cpu());
                rows.push(self.asyncio("asyncio `call_soon_threadsafe`", command, 1, 1e3));
                rows
            }
            "loop-stream-1" | "loop-stream-4" => {
                let producers: u32 = scenario["loop-stream-".len()..].parse().expect("a number");
                let mut names = own();
                names.extend(CALL_SOON);
                let mut rows = each(
                    names,
                    |_| Ok(()),
                    move |vtable| {
                        Ok(ns_per(
                            calls::stream(vtable, producers, sizes.stream)?,
                            sizes.stream,
                        ))
                    },
                );
                let count = python_less(sizes.stream);
                let command = format!("stream {producers} {count}");
                rows.push(self.asyncio("asyncio `call_soon_threadsafe`", command, count, 1.0));
                rows
            }
            "loop-here-1" | "loop-here-100" => {
                let chains: u32 = scenario["loop-here-".len()..].parse().expect("a number");
                let mut names = own();
                names.push(("selvedge-bare", "Selvedge, drained by hand"));
                names.extend(CALL_SOON);
                let queues = |vtable: &Vtable| {
                    let reason = "runs the function at once, from within the call";
                    vtable.queues_here().then_some(()).ok_or(reason.to_string())
                };
                let mut rows = each(names, queues, move |vtable| {
                    Ok(ns_per(calls::here(vtable, chains, sizes.here), sizes.here))
                });
                let count = python_less(sizes.here);
                let command = format!("here {chains} {count}");
                rows.push(self.asyncio("asyncio `call_soon`", command, count, 1.0));
                rows
            }
            "loop-call" | "loop-call-one-cpu" => {
                let (place, count) = (place(scenario), sizes.calls);
                let mut names = own();
                names.extend([
                    ("glib-invoke", "GLib `g_main_context_invoke`, `GCond`"),
                    ("libuv", "libuv: list, `uv_async_send`, `uv_sem_t`"),
                    ("asio", "Boost.Asio `post`, `std::promise`"),
                ]);
                let mut rows = each(
                    names,
                    |_| Ok(()),
                    move |vtable| Ok(us_per(calls::call(vtable, place, count)?, count)),
                );
                let command = format!("call {count} {}", place.cpu());
                rows.push(self.asyncio("asyncio `run_coroutine_threadsafe`", command, count, 1e3));
                rows
            }
            "loop-job-1" | "loop-job-100" => {
                let chains: u32 = scenario["loop-job-".len()..].parse().expect("a number");
                let count = if chains == 1 {
                    sizes.jobs
                } else {
                    sizes.jobs * 4
                };
                let mut names = own();
                if chains > 1 {
                    names.push(("selvedge-max", "Selvedge in epoll, `max_workers`"));
                }
                names.extend([
                    ("glib-idle", "GLib `GThreadPool`, `g_idle_add`"),
                    ("glib-invoke", "GLib `GTask`"),
                    ("libuv", "libuv `uv_queue_work`"),
                    ("asio", "Boost.Asio `thread_pool`, `post`"),
                ]);
                let mut rows = each(
                    names,
                    |_| Ok(()),
                    move |vtable| Ok(us_per(calls::jobs(vtable, chains, count), count)),
                );
                let command = format!("job {chains} {count}");
                rows.push(self.asyncio("asyncio `run_in_executor`", command, count, 1e3));
                rows
            }
            "guest-idle" | "guest-timer" => {
                let ready = match scenario {
                    "guest-idle" => Ready::Idle,
                    _ => Ready::Timer,
                };
                let mut rows = guests(move |vtable| {
                    Ok(ns_per(
                        guest::passes(vtable, ready, sizes.passes),
                        sizes.passes,
                    ))
                });
                let count = python_less(sizes.passes);
                for (id, label, way) in TRIO {
                    rows.push(self.python(id, label, format!("{way}_passes {count}"), count, 1.0));
                }
                rows
            }
            "guest-echo" => self.echoes(sizes.trips, false),
            "guest-echo-one-cpu" => self.echoes(sizes.trips, true),
            other => unreachable!("no such scenario: {other}"),
        }
    }

    fn asyncio(&self, label: &str, command: String, count: u32, scale: f64) -> Entrant {
        self.python("asyncio", label, command, count, scale)
    }

    /// A process that lives as long as the run and does one of `peers/python_loops.py`'s commands each round.
    fn python(&self, id: &str, label: &str, command: String, count: u32, scale: f64) -> Entrant {
        let (child, root) = (self.python.clone(), self.root);
        let measure: Measure = Box::new(move || {
            let (total, _) = ask(&child, root, &command)?;
            Ok(Sample::plain(total / f64::from(count) / scale))
        });
        row(id, label, python(root, SCRIPT).map(|_| measure))
    }

    fn echoes(&self, trips: u32, one_cpu: bool) -> Vec<Entrant> {
        // Threads inherit the affinity of the one that starts them.
        fn placed(
            one_cpu: bool,
            run: impl FnOnce() -> Result<Duration, String>,
        ) -> Result<Duration, String> {
            if one_cpu {
                proc::on_one_cpu(run)
            } else {
                run()
            }
        }
        let mut rows = guests(move |vtable| {
            let time = placed(one_cpu, || guest::echo(vtable, trips))?;
            Ok(us_per(time, trips))
        });
        for (id, label, way) in TRIO {
            let (child, root) = (self.python.clone(), self.root);
            let command = format!("{way}_echo {}", u32::from(one_cpu));
            let measure: Measure = Box::new(move || {
                let (port, _) = ask(&child, root, &command)?;
                let client = || {
                    let trips = guest::round_trips(port as u16, trips);
                    trips.map_err(|e| e.to_string())
                };
                Ok(Sample::plain(us_per(placed(one_cpu, client)?, trips)))
            });
            rows.push(row(id, label, python(root, SCRIPT).map(|_| measure)));
        }
        rows
    }
}

const SCRIPT: &str = "python_loops.py";

fn ask(child: &SharedChild, root: &Path, command: &str) -> Result<(f64, f64), String> {
    let mut slot = child.borrow_mut();
    if slot.is_none() {
        *slot = Some(Child::start(&mut python(root, SCRIPT)?)?);
    }
    slot.as_mut().expect("just started").ask(command)
}

fn place(scenario: &str) -> Place {
    if scenario.ends_with("-one-cpu") {
        Place::SameCpu
    } else {
        Place::OtherCpu
    }
}

fn row(id: &str, label: &str, run: Run) -> Entrant {
    Entrant {
        id: id.into(),
        label: label.into(),
        run,
    }
}

type Name = (&'static str, &'static str);

fn own() -> Vec<Name> {
    vec![
        ("selvedge", "**Selvedge** in an epoll loop"),
        ("selvedge-glib", "Selvedge in GLib"),
        ("selvedge-glib-wake", "Selvedge in GLib, wake form"),
        ("selvedge-uv", "Selvedge in libuv"),
        ("selvedge-uv-wake", "Selvedge in libuv, wake form"),
    ]
}

const CALL_SOON: [Name; 4] = [
    ("glib-idle", "GLib `g_idle_add`"),
    ("glib-invoke", "GLib `g_main_context_invoke_full`"),
    ("libuv", "libuv: a list, `uv_async_send`"),
    ("asio", "Boost.Asio `post`"),
];

const TRIO: [(&str, &str, &str); 2] = [
    ("trio", "Trio alone: `trio.run`", "native"),
    ("trio-guest", "Trio's guest mode in asyncio", "guest"),
];

fn each(
    names: Vec<Name>,
    suits: impl Fn(&Vtable) -> Result<(), String>,
    measure: impl Fn(&'static Vtable) -> Result<f64, String> + Copy + 'static,
) -> Vec<Entrant> {
    let entrant = |(id, label): Name| {
        let run = face::find(id).and_then(|vtable| {
            suits(vtable)?;
            Ok(Box::new(move || Ok(Sample::plain(measure(vtable)?))) as Measure)
        });
        row(id, label, run)
    };
    names.into_iter().map(entrant).collect()
}

fn guests(
    measure: impl Fn(&'static guest::Vtable) -> Result<f64, String> + Copy + 'static,
) -> Vec<Entrant> {
    let names = [
        ("selvedge", "**Selvedge**: libuv in an epoll loop"),
        ("selvedge-glib", "Selvedge: libuv in GLib"),
        ("native", "libuv alone: `uv_run`"),
        ("backend-epoll", "libuv's backend fd in epoll"),
        ("backend-glib", "libuv's backend fd in GLib"),
    ];
    let entrant = |(id, label): Name| {
        let run = guest::find(id)
            .map(|vtable| Box::new(move || Ok(Sample::plain(measure(vtable)?))) as Measure);
        row(id, label, run)
    };
    names.into_iter().map(entrant).collect()
}
