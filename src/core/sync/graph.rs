//! The picture of who holds what and who waits for what, as text, JSON or DOT.
//!
//! Each object is looked at in a moment of its own, with nothing stopped: what has been waiting for long is right, what
//! changes meanwhile may be seen before or after the change.

use super::identity::Identity;
use super::lines::{Lines, Who};
use super::registry;
use super::task::{self, Kind, TaskId, Words};
use crate::sys::clock;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Text,
    Json,
    Dot,
}

/// Who has an object, or a part of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    Task(TaskId),
    /// A borrower that means something to the host only.
    Opaque(u64),
}

pub struct Waits {
    task: TaskId,
    /// "send" or "receive", of a channel.
    to: Option<&'static str>,
    for_ns: u64,
    is_thread: bool,
    timed: bool,
}

impl Waits {
    fn verb(&self) -> String {
        match self.to {
            None => "waits".to_owned(),
            Some(to) => format!("waits to {to}"),
        }
    }
}

/// What an object says of itself.
pub struct Picture {
    kind: &'static str,
    label: String,
    name: String,
    number: u64,
    /// The lock of a condition.
    pub of: Option<String>,
    pub holders: Vec<Holding>,
    /// Permits or tokens.
    pub free: Option<u64>,
    /// Items.
    pub queued: Option<u64>,
    pub broken: bool,
    pub closed: bool,
    waiting: Vec<Waits>,
}

impl Picture {
    /// Of an object with one line of waiters.
    pub fn new<W>(identity: &Identity, lines: &Lines<W>, line: u32) -> Picture {
        let mut picture = Picture::of(identity);
        picture.add_line(lines, line, None);
        picture
    }

    pub fn of(identity: &Identity) -> Picture {
        Picture {
            kind: identity.kind,
            label: identity.as_str().to_owned(),
            name: identity.name.clone(),
            number: identity.number,
            of: None,
            holders: Vec::new(),
            free: None,
            queued: None,
            broken: false,
            closed: false,
            waiting: Vec::new(),
        }
    }

    pub fn add_line<W>(&mut self, lines: &Lines<W>, line: u32, to: Option<&'static str>) {
        let now = clock::now_ns();
        self.waiting.extend(lines.iter(line).map(|w| Waits {
            task: w.task,
            to,
            for_ns: now.saturating_sub(w.since_ns),
            is_thread: matches!(w.who, Who::Thread(_)),
            timed: w.timed,
        }));
    }

    fn is_of_interest(&self) -> bool {
        self.broken || !self.holders.is_empty() || !self.waiting.is_empty()
    }

    fn state(&self) -> String {
        let mut words = Vec::new();
        if self.broken {
            words.push("broken".to_owned());
        }
        if self.closed {
            words.push("closed".to_owned());
        }
        if let Some(of) = &self.of {
            words.push(format!("of {of}"));
        }
        if let Some(free) = self.free {
            words.push(format!("{free} free"));
        }
        if let Some(queued) = self.queued {
            words.push(format!("{queued} queued"));
        }
        words.join(", ")
    }

    fn tasks(&self) -> impl Iterator<Item = TaskId> {
        let holders = self.holders.iter().filter_map(|holding| match holding {
            Holding::Task(task) => Some(*task),
            Holding::Opaque(_) => None,
        });
        holders.chain(self.waiting.iter().map(|w| w.task))
    }
}

fn borrower(number: u64) -> String {
    format!("borrower {number:#x}")
}

/// The whole picture.
pub fn draw(format: Format) -> String {
    let objects: Vec<Picture> = registry::all().iter().map(|o| o.describe()).collect();
    match format {
        Format::Text => text(&objects),
        Format::Json => json(&objects),
        Format::Dot => dot(&objects),
    }
}

fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// On one line, whatever the host put into its names.
fn on_a_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

fn text(objects: &[Picture]) -> String {
    let words = Words::new(objects.iter().flat_map(Picture::tasks));
    let mut out = String::new();
    let mut quiet = 0;
    for object in objects {
        if !object.is_of_interest() {
            quiet += 1;
            continue;
        }
        let mut line = object.label.clone();
        let state = object.state();
        if !state.is_empty() {
            let _ = write!(line, " ({state})");
        }
        let holders: Vec<String> = object
            .holders
            .iter()
            .map(|holding| match holding {
                Holding::Task(task) => words[*task].to_owned(),
                Holding::Opaque(number) => borrower(*number),
            })
            .collect();
        if !holders.is_empty() {
            let _ = write!(line, ", held by {}", holders.join(", "));
        }
        let _ = writeln!(out, "{}", on_a_line(&line));
        for w in &object.waiting {
            let how = match (w.is_thread, w.timed) {
                (true, false) => "blocked",
                (true, true) => "blocked, with a timeout",
                (false, _) => "by an operation",
            };
            let _ = writeln!(
                out,
                "  {} {}, {how}, for {}",
                on_a_line(&words[w.task]),
                w.verb(),
                duration(w.for_ns)
            );
        }
    }
    let _ = writeln!(
        out,
        "objects: {}, of which neither held, waited for nor broken: {quiet}; waits: {}",
        objects.len(),
        objects.iter().map(|o| o.waiting.len()).sum::<usize>()
    );
    out
}

/// A string of JSON, and of DOT, which has fewer escapes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list<T>(items: impl IntoIterator<Item = T>, one: impl Fn(T) -> Option<String>) -> String {
    let items: Vec<String> = items.into_iter().filter_map(one).collect();
    format!("[{}]", items.join(","))
}

fn json(objects: &[Picture]) -> String {
    let mut holds: HashMap<TaskId, Vec<&str>> = HashMap::new();
    let mut waits_for: HashMap<TaskId, Vec<&str>> = HashMap::new();
    for object in objects {
        for holder in &object.holders {
            if let Holding::Task(task) = holder {
                holds.entry(*task).or_default().push(&object.label);
            }
        }
        for wait in &object.waiting {
            waits_for.entry(wait.task).or_default().push(&object.label);
        }
    }
    let labels =
        |of: Option<&Vec<&str>>| list(of.into_iter().flatten(), |label| Some(quoted(label)));
    let tasks = list(task::all(), |id| {
        let kind = match task::kind(id) {
            Some(Kind::Thread) => "thread",
            Some(Kind::Job) => "job",
            _ => "host",
        };
        Some(format!(
            "{{\"id\":{},\"name\":{},\"kind\":\"{kind}\",\"holds\":{},\"waits_for\":{}}}",
            id.0,
            quoted(&task::name(id)),
            labels(holds.get(&id)),
            labels(waits_for.get(&id))
        ))
    });
    let objects = list(objects, |o| {
        let owners = list(&o.holders, |h| match h {
            Holding::Task(task) => Some(task.0.to_string()),
            Holding::Opaque(_) => None,
        });
        let borrowers = list(&o.holders, |h| match h {
            Holding::Task(_) => None,
            Holding::Opaque(number) => Some(quoted(&format!("{number:#x}"))),
        });
        let owner = match (&o.kind, &o.holders[..]) {
            (&"lock", [Holding::Task(task)]) => task.0.to_string(),
            _ => "null".to_owned(),
        };
        let number = |of: Option<u64>| of.map_or("null".to_owned(), |n| n.to_string());
        let string = |of: Option<&str>| of.map_or("null".to_owned(), quoted);
        let waiting = list(&o.waiting, |w| {
            Some(format!(
                "{{\"task\":{},\"to\":{},\"for_ns\":{},\"how\":\"{}\",\"timed\":{}}}",
                w.task.0,
                string(w.to),
                w.for_ns,
                if w.is_thread { "thread" } else { "operation" },
                w.timed
            ))
        });
        Some(format!(
            "{{\"kind\":\"{}\",\"name\":{},\"id\":{},\"owner\":{owner},\"owners\":{owners},\"borrowers\":{borrowers},\
             \"free\":{},\"queued\":{},\"of\":{},\"broken\":{},\"closed\":{},\"waiting\":{waiting}}}",
            o.kind,
            quoted(&o.name),
            o.number,
            number(o.free),
            number(o.queued),
            string(o.of.as_deref()),
            o.broken,
            o.closed
        ))
    });
    format!("{{\"tasks\":{tasks},\"objects\":{objects}}}\n")
}

fn dot(objects: &[Picture]) -> String {
    let mut out =
        String::from("digraph waits {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    let mut tasks: Vec<TaskId> = Vec::new();
    let mut seen = HashSet::new();
    let mut note = |task: TaskId, tasks: &mut Vec<TaskId>| {
        if seen.insert(task) {
            tasks.push(task);
        }
    };
    let mut edges = String::new();
    for object in objects.iter().filter(|o| o.is_of_interest()) {
        let state = object.state();
        let label = match state.is_empty() {
            true => object.label.clone(),
            false => format!("{} ({state})", object.label),
        };
        let colour = if object.broken { ", color=red" } else { "" };
        let _ = writeln!(
            out,
            "  o{} [shape=box, label={}{colour}];",
            object.number,
            quoted(&label)
        );
        for held in &object.holders {
            match held {
                Holding::Task(task) => {
                    note(*task, &mut tasks);
                    let _ = writeln!(
                        edges,
                        "  o{} -> t{} [label=\"held by\"];",
                        object.number, task.0
                    );
                }
                Holding::Opaque(number) => {
                    let _ = writeln!(
                        edges,
                        "  o{} -> {} [label=\"held by\"];",
                        object.number,
                        quoted(&borrower(*number))
                    );
                }
            }
        }
        for w in &object.waiting {
            note(w.task, &mut tasks);
            let style = if w.timed { ", style=dashed" } else { "" };
            let _ = writeln!(
                edges,
                "  t{} -> o{} [label=\"{}, {}\"{style}];",
                w.task.0,
                object.number,
                w.verb(),
                duration(w.for_ns)
            );
        }
    }
    let words = Words::new(tasks.iter().copied());
    for task in tasks {
        let _ = writeln!(
            out,
            "  t{} [shape=ellipse, label={}];",
            task.0,
            quoted(&words[task])
        );
    }
    out.push_str(&edges);
    out.push_str("}\n");
    out
}
