//! The results as text: on the terminal while the run goes on, and as Markdown in the suite's section of docs/benchmarks.md.

use crate::entrants::Entrant;
use crate::marks::Mark;
use crate::peers::selvedge;
use crate::plot;
use crate::proc::{self, Disturbance};
use crate::scenarios::{Sample, Scenario};
use crate::stats::{paired_ratio, summary, Summary};
use crate::suites::Suite;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const PAGE: &str = "benchmarks.md";

pub struct Row {
    pub id: String,
    pub label: String,
    pub samples: Vec<Sample>,
    /// Why there are no samples.
    pub absent: Option<String>,
    failed: bool,
}

impl Row {
    pub fn new(entrant: &Entrant) -> Row {
        Row {
            id: entrant.id.clone(),
            label: entrant.label.clone(),
            samples: Vec::new(),
            absent: entrant.run.as_ref().err().cloned(),
            failed: false,
        }
    }

    /// A row that broke shows no half of its numbers.
    pub fn fail(&mut self, message: &str) {
        self.absent = Some(format!("failed: {message}"));
        self.samples.clear();
        self.failed = true;
    }

    pub fn values(&self) -> Vec<f64> {
        self.samples.iter().map(|s| s.value).collect()
    }

    pub fn seconds(&self) -> Vec<f64> {
        self.samples.iter().filter_map(|s| s.second).collect()
    }

    pub fn summary(&self) -> Option<Summary> {
        (!self.samples.is_empty()).then(|| summary(&self.values()))
    }

    /// Without Markdown.
    pub fn plain_label(&self) -> String {
        self.label.replace(['*', '`'], "")
    }

    pub fn is_own(&self) -> bool {
        self.label.contains("Selvedge")
    }
}

pub struct Table {
    pub scenario: &'static Scenario,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn row(&self, id: &str) -> Option<&Row> {
        self.rows.iter().find(|r| r.id == id)
    }

    pub fn has_failures(&self) -> bool {
        self.rows.iter().any(|r| r.failed)
    }

    /// The measured rows, best first.
    pub fn ranking(&self) -> Vec<(&Row, Summary)> {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter_map(|r| Some((r, r.summary()?)))
            .collect();
        // Rows of one scenario against itself keep the order in which they were thought of.
        if self.scenario.reference == "selvedge" {
            rows.sort_by(|a, b| a.1.median.total_cmp(&b.1.median));
        }
        rows
    }

    fn ratio(&self, row: &Row) -> String {
        self.row(self.scenario.reference)
            .and_then(|reference| paired_ratio(&row.values(), &reference.values()))
            .map_or("–".into(), |ratio| format!("{} ×", number(ratio)))
    }

    fn cells(&self) -> Vec<Vec<String>> {
        let mut cells = Vec::new();
        for (row, s) in self.ranking() {
            let mut line = vec![row.label.clone()];
            line.extend([s.min, s.median, s.p75].map(number));
            line.push(self.ratio(row));
            if !self.scenario.second.is_empty() {
                let seconds = row.seconds();
                line.push(if seconds.is_empty() {
                    "–".into()
                } else {
                    number(summary(&seconds).median)
                });
            }
            cells.push(line);
        }
        cells
    }

    fn head(&self) -> Vec<&str> {
        let reference = self.row(self.scenario.reference).map_or("reference", |r| {
            if r.id == "selvedge" {
                "to Selvedge"
            } else {
                "ratio"
            }
        });
        let mut head = vec!["", "min", "median", "p75", reference];
        if !self.scenario.second.is_empty() {
            head.push(self.scenario.second);
        }
        head
    }

    fn absent(&self) -> impl Iterator<Item = (&Row, &String)> {
        self.rows
            .iter()
            .filter_map(|r| Some((r, r.absent.as_ref()?)))
    }
}

/// What the whole run was like.
pub struct Run {
    pub rounds: u32,
    pub quick: bool,
    pub load_before: String,
    pub disturbance: Disturbance,
}

/// Three significant digits, thousands apart.
pub fn number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        let digits = format!("{:.0}", value.abs());
        let mut text = String::new();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        return if value < 0.0 {
            format!("-{text}")
        } else {
            text
        };
    }
    match value.abs() {
        v if v >= 100.0 || v == v.trunc() => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub fn terminal(table: &Table) -> String {
    let mut text = format!("\n{} ({})\n", table.scenario.title, table.scenario.unit);
    let mut lines = vec![table
        .head()
        .into_iter()
        .map(str::to_string)
        .collect::<Vec<_>>()];
    lines.extend(table.cells());
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let cell = cell.replace(['*', '`'], "");
            if column == 0 {
                write!(text, "  {cell:<44}").unwrap();
            } else {
                write!(text, "{cell:>17}").unwrap();
            }
        }
        text.push('\n');
    }
    for (row, reason) in table.absent() {
        writeln!(text, "  {}: {reason}", row.plain_label()).unwrap();
    }
    text
}

pub fn marks(marks: &[Mark]) -> String {
    let mut text = String::from("Marks\n");
    for mark in marks {
        let verdict = if mark.passed { "pass" } else { "LOSE" };
        writeln!(text, "  {verdict}  {}: {}", mark.what, mark.seen).unwrap();
    }
    text
}

pub fn run(run: &Run) -> String {
    format!(
        "{} rounds in {:.0} s; other processes used {:.0} % of the CPUs, the host took {:.0} %; load {} before the run",
        run.rounds,
        run.disturbance.seconds,
        run.disturbance.others * 100.0,
        run.disturbance.stolen * 100.0,
        run.load_before,
    )
}

fn markdown(suite: &Suite, tables: &[Table], marks: &[Mark], run: &Run) -> String {
    let mut text = String::new();
    let versions = (suite.versions)(Path::new(env!("BENCH_ROOT")));
    writeln!(text, "| | |\n|---|---|").unwrap();
    writeln!(text, "| Date | {} |", proc::today()).unwrap();
    writeln!(text, "| Machine | {} |", proc::machine()).unwrap();
    writeln!(
        text,
        "| Selvedge | {}{} |",
        selvedge::version(),
        if versions.is_empty() {
            String::new()
        } else {
            format!("; with {}", versions.join(", "))
        }
    )
    .unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    writeln!(
        text,
        "| Command | `cargo run --release -p selvedge-benches -- {}` |",
        arguments.join(" ")
    )
    .unwrap();
    writeln!(text, "| Run | {} |", self::run(run)).unwrap();
    if run.quick {
        text.push_str("\n**Small sizes (`--quick`): only good for trying the harness out.**\n");
    }
    text.push_str("\n#### Marks\n\n| mark | seen | |\n|---|---|---|\n");
    for mark in marks {
        let verdict = if mark.passed { "pass" } else { "**lose**" };
        writeln!(text, "| {} | {} | {verdict} |", mark.what, mark.seen).unwrap();
    }
    for table in tables {
        write!(text, "\n#### {}\n\n", table.scenario.title).unwrap();
        let head = table.head();
        writeln!(
            text,
            "| row ({}) | {} |",
            table.scenario.unit,
            head[1..].join(" | ")
        )
        .unwrap();
        writeln!(text, "|---|{}", "---:|".repeat(head.len() - 1)).unwrap();
        for line in table.cells() {
            writeln!(text, "| {} |", line.join(" | ")).unwrap();
        }
        // One line for each reason, in the order in which they come up.
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        for (row, reason) in table.absent() {
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, rows)) => rows.push(row.label.clone()),
                None => reasons.push((reason, vec![row.label.clone()])),
            }
        }
        for (reason, rows) in reasons {
            write!(text, "\nLeft out: {} ({reason}).\n", rows.join(", ")).unwrap();
        }
    }
    text
}

/// Between these two lines of the page a suite's results go.
fn fences(suite: &Suite) -> (String, String) {
    let id = suite.id;
    (
        format!("<!-- results of the suite {id}: written by `make bench`, do not edit below -->"),
        format!("<!-- end of the suite {id} -->"),
    )
}

/// The text around the results, before and after them, with the fences.
fn frame(folder: &Path, suite: &Suite) -> Result<(String, String), String> {
    let path = folder.join(PAGE);
    let old = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let (begin, end) = fences(suite);
    match (old.find(&begin), old.find(&end)) {
        (Some(at), Some(end)) if at < end => {
            Ok((old[..at + begin.len()].to_string(), old[end..].to_string()))
        }
        _ => Err(format!(
            "{} lacks the lines {begin:?} and {end:?}, between which the results go",
            path.display()
        )),
    }
}

/// Tells before a long run whether [`write`] could put its results there.
pub fn check_target(folder: &Path, suite: &Suite) -> Result<(), String> {
    frame(folder, suite).map(drop)
}

/// Puts the tables into the suite's section of the page, and draws its picture beside it.
pub fn write(
    folder: &Path,
    suite: &Suite,
    tables: &[Table],
    marks: &[Mark],
    run: &Run,
) -> Result<(), String> {
    let (before, after) = frame(folder, suite)?;
    let new = format!(
        "{before}\n\n{}\n{after}",
        markdown(suite, tables, marks, run)
    );
    let page = folder.join(PAGE);
    fs::write(&page, new).map_err(|e| format!("{}: {e}", page.display()))?;
    let picture = folder.join(suite.picture);
    plot::draw(&picture, suite.headline, tables)
        .map_err(|e| format!("{}: {e}", picture.display()))?;
    println!("wrote {} and {}", page.display(), picture.display());
    Ok(())
}
