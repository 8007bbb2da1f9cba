//! The marks of the Python package: no slower than what it replaces, give or take a tenth; callbacks that keep their thread state at
//! a tenth of the price of those that make one; and two interpreters that are worth two processors.

use crate::marks::{at_most, Mark};
use crate::report::Table;
use crate::stats::paired_ratio;

pub fn judge(tables: &[Table]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for table in tables {
        let pairs: &[(&str, &str, f64)] = match table.scenario.id {
            "python-roundtrip" | "python-chain" => &[
                ("selvedge", "trio", 1.1),
                ("selvedge", "futures", 1.1),
                ("selvedge-executor", "futures", 1.1),
            ],
            // Only a cache with a bound may queue, as the executor does; Trio's starts a thread for each job, as ours does.
            "python-burst" => &[("selvedge", "trio", 1.1), ("selvedge-max", "futures", 1.1)],
            "python-future" | "python-map" | "python-asyncio" => &[("selvedge", "futures", 1.1)],
            "python-trio" => &[("selvedge", "trio", 1.1)],
            "python-callback" => &[("python-hooks", "python-per-job", 0.1)],
            // A lock that knows its owner is to be compared with one that knows it, too.
            "python-lock" | "python-with" => {
                &[("selvedge", "lock", 2.0), ("selvedge", "rlock", 1.5)]
            }
            "python-await" => &[("selvedge", "trio", 1.1), ("selvedge-aio", "asyncio", 2.0)],
            _ => &[],
        };
        for (own, peer, limit) in pairs {
            marks.extend(at_most(table, own, peer, *limit));
        }
        if table.scenario.id == "python-parallel" {
            marks.extend(speed_up(table));
        }
    }
    marks
}

fn speed_up(table: &Table) -> Option<Mark> {
    let (one, two) = (table.row("selvedge-1")?, table.row("selvedge-2")?);
    let ratio = paired_ratio(&one.values(), &two.values())?;
    Some(Mark {
        what: format!(
            "{}: 2 interpreters at least 1.6 × as fast as 1",
            table.scenario.title
        ),
        seen: format!("{ratio:.2} ×"),
        passed: ratio >= 1.6,
    })
}
