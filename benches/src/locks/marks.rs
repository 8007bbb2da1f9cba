//! The marks of the locks, each the median of the rounds' own ratios.

use crate::marks::{at_most, Mark};
use crate::report::Table;

pub fn judge(tables: &[Table]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for table in tables {
        let id = table.scenario.id;
        if id == "lock-pair" {
            marks.extend(at_most(table, "selvedge", "parking_lot", 1.3));
            marks.extend(at_most(table, "selvedge", "pthread-robust", 0.5));
        } else if id.starts_with("lock-threads-") || id.starts_with("lock-outside-") {
            // Eventually fair as Selvedge's lock is, and the current release, which is not fair at all.
            marks.extend(at_most(table, "selvedge", "parking_lot-eventual", 1.2));
            marks.extend(at_most(table, "selvedge", "parking_lot", 1.2));
            marks.extend(at_most(table, "selvedge-strict", "parking_lot-fair", 1.0));
        } else if id == "lock-owner-death" {
            marks.extend(at_most(table, "selvedge", "pthread-robust", 1.0));
            marks.extend(at_most(table, "selvedge-robust", "pthread-robust", 1.0));
        }
    }
    for id in ["selvedge", "selvedge-shuffled", "selvedge-close"] {
        marks.extend(linear(tables, id));
    }
    marks
}

/// Ten times as many waiters. Were the time quadratic, each would cost ten times as much; three leaves room for the caches, which ten
/// times the memory no longer fits.
fn linear(tables: &[Table], id: &str) -> Option<Mark> {
    let row = |scenario: &str| tables.iter().find(|t| t.scenario.id == scenario)?.row(id);
    let (few, many) = (row("lock-cancel-1000")?, row("lock-cancel-10000")?);
    let (each_of_few, each_of_many) = (few.summary()?.median, many.summary()?.median);
    let ratio = each_of_many / each_of_few;
    Some(Mark {
        what: format!(
            "Waiters give up ({}): each of 10,000 costs at most 3 × each of 1,000",
            few.plain_label()
        ),
        seen: format!("{each_of_many:.0} ns against {each_of_few:.0} ns: {ratio:.2} ×"),
        passed: ratio <= 3.0,
    })
}
