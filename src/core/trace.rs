//! A record of what each worker did, as Chrome trace events (the JSON array format), which Perfetto and chrome://tracing open.
//!
//! One lane per worker (`tid` is the worker's number), with a begin and an end event for each hook call and each job. While no
//! trace runs, each place costs one relaxed load.

use super::error::{self, Error, Result};
use super::name::Name;
use super::panic::step;
use super::worker::Worker;
use crate::sys::lock::{ForkReset, static_lock};
use crate::sys::{clock, fork};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// 0, or the fork generation of the process that is traced.
static ON: AtomicU32 = AtomicU32::new(0);

const BUFFER: usize = 64 * 1024;

struct Writer {
    /// Each worker's lane: how many of its events have begun and not ended. What began before the trace does not count, and what
    /// has not ended when it stops is ended there, so that the file balances.
    lanes: BTreeMap<u64, u32>,
    file: Option<File>,
    path: String,
    buffer: String,
    events: u64,
    started_ns: u64,
    failed: Option<String>,
}

impl ForkReset for Writer {
    // The file, with what the parent has buffered for it, is the parent's.
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::replace(self, Writer::new()));
    }
}

impl Writer {
    const fn new() -> Writer {
        Writer {
            lanes: BTreeMap::new(),
            file: None,
            path: String::new(),
            buffer: String::new(),
            events: 0,
            started_ns: 0,
            failed: None,
        }
    }

    fn event(&mut self, write: impl FnOnce(&mut String)) {
        self.buffer
            .push_str(if self.events == 0 { "[\n" } else { ",\n" });
        self.events += 1;
        write(&mut self.buffer);
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(file) = &mut self.file
            && let Err(e) = file.write_all(self.buffer.as_bytes())
        {
            self.failed.get_or_insert(e.to_string());
        }
        self.buffer.clear();
    }

    /// Microseconds since the trace began, as the format wants them.
    fn now(&self) -> Micros {
        Micros(clock::now_ns().saturating_sub(self.started_ns))
    }

    /// The worker's lane, which gets its name at the first event.
    fn lane(&mut self, worker: &Worker) -> &mut u32 {
        let (pid, tid, name) = (std::process::id(), worker.id.get(), worker.name.get());
        if !self.lanes.contains_key(&tid) {
            self.event(|b| {
                let _ = write!(
                    b,
                    r#"{{"ph":"M","name":"thread_name","pid":{pid},"tid":{tid},"args":{{"name":{}}}}}"#,
                    Json(name.as_str())
                );
            });
        }
        self.lanes.entry(tid).or_default()
    }

    fn end(&mut self, tid: u64) {
        let (now, pid) = (self.now(), std::process::id());
        self.event(|b| {
            let _ = write!(b, r#"{{"ph":"E","ts":{now},"pid":{pid},"tid":{tid}}}"#);
        });
    }

    fn end_all(&mut self) {
        for (tid, open) in std::mem::take(&mut self.lanes) {
            for _ in 0..open {
                self.end(tid);
            }
        }
    }
}

struct Micros(u64);
impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// A string with its quotes, as JSON wants it.
struct Json<'a>(&'a str);
impl std::fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if (c as u32) < 0x20 => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

static_lock!(static WRITER: Writer = Writer::new());

/// What an event is about.
#[derive(Clone, Copy)]
pub enum Kind {
    Start,
    Exit,
    Before,
    After,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Start => "on_start",
            Kind::Exit => "on_exit",
            Kind::Before => "before_job",
            Kind::After => "after_job",
        }
    }
}

#[inline]
fn is_on() -> bool {
    ON.load(Relaxed) == fork::generation()
}

/// Starts to record into a new file.
///
/// # Errors
/// BUSY (a trace runs), IO (the file cannot be made).
pub fn start(path: &str) -> Result<()> {
    let mut writer = WRITER.lock();
    if writer.file.is_some() {
        return Err(Error::new(
            error::BUSY,
            format!("a trace is being written to {}", writer.path),
        ));
    }
    let file = File::create(path).map_err(|e| Error::new(error::IO, format!("{path}: {e}")))?;
    *writer = Writer {
        file: Some(file),
        path: path.to_owned(),
        buffer: String::with_capacity(2 * BUFFER),
        started_ns: clock::now_ns(),
        ..Writer::new()
    };
    let pid = std::process::id();
    writer.event(|b| {
        let _ = write!(
            b,
            r#"{{"ph":"M","name":"process_name","pid":{pid},"args":{{"name":"selvedge"}}}}"#
        );
    });
    ON.store(fork::generation(), Relaxed);
    Ok(())
}

/// Stops recording and completes the file.
///
/// # Errors
/// CLOSED (no trace runs), IO (part of it could not be written).
pub fn stop() -> Result<()> {
    let mut writer = WRITER.lock();
    if writer.file.is_none() {
        return Err(Error::new(error::CLOSED, "no trace is being written"));
    }
    ON.store(0, Relaxed);
    writer.end_all();
    writer.buffer.push_str("\n]\n");
    writer.flush();
    let ended = std::mem::replace(&mut *writer, Writer::new());
    drop(writer);
    match ended.failed {
        None => Ok(()),
        Some(why) => Err(Error::new(error::IO, format!("{}: {why}", ended.path))),
    }
}

/// Runs one step of the writer, if a trace is still being written.
#[cold]
fn record(write: impl FnOnce(&mut Writer)) {
    let _ = step(|| {
        let mut writer = WRITER.lock();
        if writer.file.is_some() {
            write(&mut writer);
        }
        Ok(())
    });
}

/// An event in a worker's lane that lasts until [`end`].
fn begin_event(worker: &Worker, category: &str, title: &str) {
    record(|writer| {
        *writer.lane(worker) += 1;
        let (now, pid, tid) = (writer.now(), std::process::id(), worker.id.get());
        writer.event(|b| {
            let _ = write!(
                b,
                r#"{{"ph":"B","cat":"{category}","name":{},"ts":{now},"pid":{pid},"tid":{tid}}}"#,
                Json(title)
            );
        });
    });
}

/// A callback of a hook begins on this worker. The hook is started there, or being started.
#[inline]
pub fn begin(worker: &Worker, kind: Kind, hook_id: u64) {
    if is_on() {
        begin_hook(worker, kind, hook_id);
    }
}

#[cold]
fn begin_hook(worker: &Worker, kind: Kind, hook_id: u64) {
    let attachments = worker.attachments.borrow();
    let starting = worker.starting.borrow();
    let mut hooks = attachments.iter().map(|a| &a.hook).chain(starting.iter());
    let name = hooks
        .find(|h| h.id == hook_id)
        .map_or("?", |h| h.name.as_str());
    begin_event(worker, "hook", &format!("{name}: {}", kind.text()));
}

#[inline]
pub fn begin_job(worker: &Worker, name: &Name) {
    if is_on() {
        let title = if name.is_none() { "job" } else { name.as_str() };
        begin_event(worker, "job", title);
    }
}

/// What began last on this worker ends.
#[inline]
pub fn end(worker: &Worker) {
    if is_on() {
        record(|writer| {
            let open = writer.lane(worker);
            if *open > 0 {
                *open -= 1;
                writer.end(worker.id.get());
            }
        });
    }
}

fn instant(worker: &Worker, what: &str) {
    if is_on() {
        record(|writer| {
            writer.lane(worker);
            let (now, pid, tid) = (writer.now(), std::process::id(), worker.id.get());
            writer.event(|b| {
                let _ = write!(
                    b,
                    r#"{{"ph":"i","s":"t","cat":"worker","name":"{what}","ts":{now},"pid":{pid},"tid":{tid}}}"#
                );
            });
        });
    }
}

#[inline]
pub fn worker_started(worker: &Worker) {
    instant(worker, "start");
}

#[inline]
pub fn worker_ended(worker: &Worker) {
    instant(worker, "exit");
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(
            Json("a\"b\\c\n\u{1}é").to_string(),
            "\"a\\\"b\\\\c\\u000a\\u0001é\""
        );
    }

    #[test]
    fn times_have_three_decimals() {
        assert_eq!(Micros(1_234_005).to_string(), "1234.005");
    }
}
