//! `selv_wait_graph`: who holds what, and who waits for what.

use super::status::{SELV_OK, selv_status};
use super::support::guard::finish;
use super::support::handles::null;
use crate::core::error::{self, Error};
use crate::core::panic::step;
use crate::core::sync::graph::{self, Format};
use std::ffi::{c_char, c_void};

/// Of `selv_wait_graph`: lines for people; objects that are neither held, waited for nor broken are only counted.
pub const SELV_GRAPH_TEXT: u32 = 0;
/// Of `selv_wait_graph`: one JSON object with `tasks` and `objects`, all of them.
pub const SELV_GRAPH_JSON: u32 = 1;
/// Of `selv_wait_graph`: a digraph for Graphviz; an edge goes from who waits to what, and from what is held to who holds it.
pub const SELV_GRAPH_DOT: u32 = 2;

/// Writes `len` bytes of UTF-8 (with no NUL) somewhere. Anything but 0 ends the writing, and is returned to the caller. Must not
/// throw or longjmp.
#[allow(non_camel_case_types)]
pub type selv_write_fn =
    Option<unsafe extern "C-unwind" fn(arg: *mut c_void, data: *const c_char, len: usize) -> i32>;

/// Writes the whole picture of the process: tasks, what they hold, what they wait for and how long, through one or several calls of
/// `write(arg, data, len)` on this thread, with pieces of any length, and no lock of the library held. Each object is looked at in a
/// moment of its own, and nothing is stopped: what has stood for a while is right.
///
/// Returns SELV_OK; SELV_E_NULL; SELV_E_INVAL (unknown format); what `write` returned if that was not 0.
///
/// Threads: any. Blocks: no. Reentrancy: from any callback; `write` may call any function. Fork: works in a child, where nobody of
/// the parent waits. NULL: `write` must not be NULL; `arg` may be.
///
/// # Safety
/// `write` may be called with `arg` on this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn selv_wait_graph(
    format: u32,
    write: selv_write_fn,
    arg: *mut c_void,
) -> selv_status {
    let drawn = step(|| {
        let write = write.ok_or_else(|| null("write"))?;
        let format = match format {
            SELV_GRAPH_TEXT => Format::Text,
            SELV_GRAPH_JSON => Format::Json,
            SELV_GRAPH_DOT => Format::Dot,
            unknown => {
                let why =
                    format!("format is {unknown}: SELV_GRAPH_TEXT, _JSON and _DOT are 0, 1 and 2");
                return Err(Error::new(error::INVAL, why));
            }
        };
        Ok((write, graph::draw(format)))
    });
    match drawn {
        Ok((write, text)) => {
            // SAFETY: as this function's own contract.
            match unsafe { write(arg, text.as_ptr().cast(), text.len()) } {
                0 => SELV_OK,
                stopped => finish(Err(Error::new(
                    stopped,
                    format!("write returned {stopped} for the wait graph"),
                ))),
            }
        }
        Err(e) => finish(Err(e)),
    }
}
