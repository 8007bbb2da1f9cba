//! What belongs together in one run, one section of the page and one picture.

use crate::attach;
use crate::entrants::{Cast as Pools, Entrant};
use crate::locks::{self, Cast as Locks};
use crate::loops::{self, Cast as Loops};
use crate::marks::{self, Mark};
use crate::peers::list;
use crate::python::{self, Cast as Python};
use crate::report::Table;
use crate::scenarios::{self, Scenario};
use std::path::Path;

pub struct Suite {
    pub id: &'static str,
    /// Over the picture.
    pub headline: &'static str,
    pub picture: &'static str,
    pub scenarios: &'static [Scenario],
    pub cast: fn(quick: bool, root: &'static Path) -> Cast,
    pub judge: fn(&[Table]) -> Vec<Mark>,
    pub peers: fn() -> Vec<&'static str>,
    /// What its rows ran on, beside Selvedge.
    pub versions: fn(root: &Path) -> Vec<String>,
}

/// Who takes part, and what they share during the run (processes of their own).
pub enum Cast {
    Pools(Pools),
    Locks(Locks),
    Loops(Loops),
    Python(Python),
}

impl Cast {
    pub fn rows(&self, scenario: &str) -> Vec<Entrant> {
        match self {
            Cast::Pools(cast) => cast.rows(scenario),
            Cast::Locks(cast) => cast.rows(scenario),
            Cast::Loops(cast) => cast.rows(scenario),
            Cast::Python(cast) => cast.rows(scenario),
        }
    }
}

pub const SUITES: &[Suite] = &[
    Suite {
        id: "pools",
        headline: "Selvedge side by side with other thread pools",
        picture: "benchmarks.svg",
        scenarios: scenarios::SCENARIOS,
        cast: |quick, root| {
            let sizes = if quick {
                scenarios::QUICK
            } else {
                scenarios::FULL
            };
            Cast::Pools(Pools::new(sizes, root))
        },
        judge: marks::judge,
        peers: list::ids,
        versions: |_| attach::versions(),
    },
    Suite {
        id: "locks",
        headline: "Selvedge side by side with other locks, semaphores and channels",
        picture: "benchmarks-locks.svg",
        scenarios: locks::SCENARIOS,
        cast: |quick, root| Cast::Locks(Locks::new(quick, root)),
        judge: locks::marks::judge,
        peers: || locks::PEERS.to_vec(),
        versions: |_| attach::versions(),
    },
    Suite {
        id: "loops",
        headline: "Selvedge in host loops, and as the host of a guest, side by side with the loops' own ways",
        picture: "benchmarks-loops.svg",
        scenarios: loops::SCENARIOS,
        cast: |quick, root| Cast::Loops(Loops::new(quick, root)),
        judge: loops::marks::judge,
        peers: || loops::PEERS.to_vec(),
        versions: |_| attach::versions(),
    },
    Suite {
        id: "python",
        headline: "Selvedge's Python package side by side with Trio's and Python's own",
        picture: "benchmarks-python.svg",
        scenarios: python::SCENARIOS,
        cast: |quick, root| Cast::Python(Python::new(quick, root)),
        judge: python::marks::judge,
        peers: || python::PEERS.to_vec(),
        versions: |root| python::version(root).into_iter().collect(),
    },
];
