//! The pools by name, each with the way to make one.

use super::native::{self, Native};
use super::rust::{Blocking, Rayon, StdThread, Threadpool, Tokio};
use super::selvedge::{Selvedge, Variant};
use crate::pool::{Pool, Setup};
use crate::proc;

/// A pool in this process.
#[derive(Clone, Copy)]
pub struct NativePeer {
    pub id: &'static str,
    pub label: &'static str,
    pub kind: Kind,
    pub make: fn(&Setup) -> Box<dyn Pool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As many threads as it was made with.
    Fixed,
    /// Grows when no thread is idle.
    Growing,
    /// No pool: a thread for every job.
    NoPool,
}

/// A pool in a child process, by the argument that selects it.
#[derive(Clone, Copy)]
pub struct ManagedPeer {
    pub id: &'static str,
    pub label: &'static str,
    pub kind: Kind,
}

fn native_pool(id: &str, setup: &Setup) -> Box<dyn Pool> {
    Box::new(Native::new(native::find(id).expect("asked before"), setup))
}

fn selvedge_pool(setup: &Setup, variant: Variant) -> Box<dyn Pool> {
    Box::new(Selvedge::new(setup, variant))
}

pub const DEFAULT: Variant = Variant {
    no_spin: false,
    bounded: false,
    bulk: false,
    run: false,
};

pub const SELVEDGE: &[NativePeer] = &[
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

pub const SELVEDGE_RUN: NativePeer = NativePeer {
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

pub const SELVEDGE_MAX: NativePeer = NativePeer {
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

pub const SELVEDGE_BURST: &[NativePeer] = &[
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

pub const PEERS: &[NativePeer] = &[
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
pub const PROCESS_WIDE: &[&str] = &["libuv", "blocking", "onetbb"];

pub const MANAGED: &[ManagedPeer] = &[
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

pub fn plain(threads: u32) -> Setup {
    Setup {
        threads,
        unbounded: false,
        idle: None,
    }
}

pub fn normal() -> Setup {
    plain(proc::cpus() as u32)
}
