//! The marks of the loops: in its host, Selvedge should cost no more than the host's own way to do the same, give or take a tenth, and
//! its guest mode should add no more to a pass than Trio's own adds.

use crate::marks::{at_most, Mark};
use crate::report::{Row, Table};
use crate::stats::quantile;

pub fn judge(tables: &[Table]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for table in tables {
        if table.scenario.id.starts_with("guest-") {
            marks.extend(adds_less(table));
            continue;
        }
        // Of many jobs at once the peers' pools start no more than there are CPUs.
        let pairs: &[(&str, &str)] = match table.scenario.id {
            "loop-job-100" => &[
                ("selvedge-max", "glib-idle"),
                ("selvedge-max", "glib-invoke"),
                ("selvedge-max", "libuv"),
                ("selvedge-max", "asyncio"),
            ],
            _ => &[
                ("selvedge-glib", "glib-idle"),
                ("selvedge-glib", "glib-invoke"),
                ("selvedge-uv", "libuv"),
                ("selvedge", "asyncio"),
            ],
        };
        for (own, peer) in pairs {
            marks.extend(at_most(table, own, peer, 1.1));
        }
    }
    marks
}

/// By the median of the rounds' differences.
fn adds_less(table: &Table) -> Option<Mark> {
    let row = |id: &str| table.row(id).filter(|row| row.summary().is_some());
    let own = added(row("selvedge")?, row("native")?);
    let peer = added(row("trio-guest")?, row("trio")?);
    Some(Mark {
        what: format!(
            "{}: a guest of Selvedge pays less on top than one of Trio's guest mode",
            table.scenario.title
        ),
        seen: format!("{own:.2} against {peer:.2} {}", table.scenario.unit),
        passed: own <= peer,
    })
}

fn added(guest: &Row, native: &Row) -> f64 {
    let pairs = guest.values().into_iter().zip(native.values());
    quantile(&pairs.map(|(g, n)| g - n).collect::<Vec<_>>(), 0.5)
}
