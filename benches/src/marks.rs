//! The marks that the project set itself, judged from the tables of this run. They are reported, never asserted: a shared machine
//! may fail any of them on a bad day.

use crate::peers::list::is_fixed_pool;
use crate::report::{Row, Table};
use crate::stats::{paired_ratio, Summary};

pub struct Mark {
    pub what: String,
    pub seen: String,
    pub passed: bool,
}

pub fn judge(tables: &[Table]) -> Vec<Mark> {
    let mut marks = Vec::new();
    for table in tables {
        match table.scenario.id {
            "roundtrip" | "one-cpu" | "chain" | "submitters-1" | "submitters-2"
            | "submitters-4" => {
                marks.extend(fastest(table));
            }
            "sequential" => marks.extend(one_thread(table)),
            "burst" => marks.extend(burst(table)),
            "hooks" => marks.extend(hooks(table)),
            "memory" => marks.extend(memory(table)),
            _ => {}
        }
    }
    marks
}

fn peers(table: &Table) -> impl Iterator<Item = (&Row, Summary)> {
    table
        .rows
        .iter()
        .filter(|r| !r.id.starts_with("selvedge"))
        .filter_map(|r| Some((r, r.summary()?)))
}

/// Within noise: Selvedge's median is no worse than the upper quartile of the fastest peer.
fn fastest(table: &Table) -> Option<Mark> {
    let own = table.row("selvedge")?.summary()?;
    let (peer, best) = peers(table).min_by(|a, b| a.1.median.total_cmp(&b.1.median))?;
    Some(Mark {
        what: format!(
            "{}: fastest or within noise of the fastest",
            table.scenario.title
        ),
        seen: format!(
            "{:.3} against {:.3} (upper quartile {:.3}) {} of {}",
            own.median,
            best.median,
            best.p75,
            table.scenario.unit,
            peer.plain_label()
        ),
        passed: own.median <= best.p75,
    })
}

fn one_thread(table: &Table) -> Option<Mark> {
    let counts = table.row("selvedge")?.seconds();
    let most = counts.iter().copied().reduce(f64::max)?;
    Some(Mark {
        what: "Sequential jobs use exactly 1 thread".into(),
        seen: format!("at most {most} in {} rounds", counts.len()),
        passed: most == 1.0,
    })
}

fn burst(table: &Table) -> Option<Mark> {
    let bounded = ["selvedge-max", "selvedge-max-many"];
    let (way, own) = bounded
        .iter()
        .filter_map(|id| Some((table.row(id)?, table.row(id)?.summary()?)))
        .min_by(|a, b| a.1.median.total_cmp(&b.1.median))?;
    let (peer, best) = peers(table)
        .filter(|(row, _)| is_fixed_pool(&row.id))
        .min_by(|a, b| a.1.median.total_cmp(&b.1.median))?;
    Some(Mark {
        what: "Burst with `max_workers`: within 1.2 × of the best fixed pool".into(),
        seen: format!(
            "{:.0} ns ({}) against {:.0} ns of {}: {:.2} ×",
            own.median,
            way.plain_label(),
            best.median,
            peer.plain_label(),
            own.median / best.median
        ),
        passed: own.median <= 1.2 * best.median,
    })
}

fn hooks(table: &Table) -> Option<Mark> {
    let without = table.row("hooks-0")?;
    let added = |id: &str| {
        let with = table.row(id)?;
        let differences: Vec<f64> = with
            .values()
            .iter()
            .zip(without.values())
            .map(|(with, without)| with - without)
            .collect();
        Some(crate::stats::quantile(&differences, 0.5))
    };
    let (one, four) = (added("hooks-1")?, added("hooks-4")?);
    Some(Mark {
        what: "Unchanged hooks cost less than 2 ns per job".into(),
        seen: format!(
            "{one:+.2} ns with 1 hook, {four:+.2} ns with 4 (median of the rounds' differences)"
        ),
        passed: one < 2.0 && four < 2.0,
    })
}

fn memory(table: &Table) -> Option<Mark> {
    let own = table.row("selvedge")?.summary()?;
    Some(Mark {
        what: "An idle worker holds at most 12 KiB".into(),
        seen: format!("{:.2} KiB", own.median),
        passed: own.median <= 12.0,
    })
}

/// One row against another, by the median of the rounds' own ratios.
pub fn at_most(table: &Table, own: &str, peer: &str, limit: f64) -> Option<Mark> {
    let (own, peer) = (table.row(own)?, table.row(peer)?);
    let ratio = paired_ratio(&own.values(), &peer.values())?;
    let (fast, slow) = (own.summary()?.median, peer.summary()?.median);
    Some(Mark {
        what: format!(
            "{}: {} at most {limit} × {}",
            table.scenario.title,
            own.plain_label(),
            peer.plain_label()
        ),
        seen: format!(
            "{ratio:.2} × ({fast:.2} against {slow:.2} {})",
            table.scenario.unit
        ),
        passed: ratio <= limit,
    })
}
