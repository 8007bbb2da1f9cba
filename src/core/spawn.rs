//! Starting a worker: a place in the counts first, then the thread; both or neither.

use super::cache::{Cache, State};
use super::error::{self, Error, Result};
use super::job::Order;
use super::node::Node;
use super::worker::CacheRef;
use crate::sys::thread::{self, Start};

/// A worker that is counted but has no thread yet.
pub struct Reserved {
    node: &'static Node,
    cache: CacheRef,
    raised_peak: bool,
}

/// Counts a new worker. Its `start` must follow.
pub fn reserve(cache: &Cache, state: &mut State) -> Reserved {
    let held = CacheRef::hold(cache);
    let node = Node::take(held);
    let counts = &mut state.counts;
    counts.workers += 1;
    counts.started += 1;
    let raised_peak = counts.workers > counts.peak_workers;
    counts.peak_workers = counts.peak_workers.max(counts.workers);
    *node.index.get_mut(state) = state.all.len();
    *node.host_handle.get_mut(state) = None;
    state.all.push(node);
    // The worker's end must not allocate: its heap would cost more memory than the worker.
    let ends = state.all.len();
    let have = state.ended.len();
    if state.ended.capacity() < ends + have {
        state.ended.reserve(ends + 64);
    }
    Node::reserve(ends);
    Reserved {
        node,
        cache: held,
        raised_peak,
    }
}

/// Takes a worker off the list of all.
pub fn forget(state: &mut State, node: &'static Node) {
    let at = *node.index.get(state);
    state.all.swap_remove(at);
    if let Some(moved) = state.all.get(at).copied() {
        *moved.index.get_mut(state) = at;
    }
}

impl Reserved {
    /// Starts the thread with its first order.
    ///
    /// # Errors
    /// SPAWN, and the reservation is undone. Jobs may have been queued in reliance on it: the caller sees to the queue.
    pub fn start(self, first: Order) -> Result<()> {
        let node = self.node;
        let cache = self.cache;
        node.handoff.give(|| first);
        let arg = std::ptr::from_ref(node).cast_mut().cast();
        node.start.set(Start {
            entry: super::life::entry,
            arg,
        });
        let options = &cache.options;
        let id = node.worker.id.get();
        let why = match options.spawner {
            None => {
                // SAFETY: a node is never freed, and `entry` takes one.
                match unsafe { thread::start(node.start.as_ptr(), options.stack_size) } {
                    Ok(_) => return Ok(()),
                    Err(errno) => std::io::Error::from_raw_os_error(errno).to_string(),
                }
            }
            Some(spawner) => {
                let name = node.worker.name.get();
                let mut handle = std::ptr::null_mut();
                // The worker may be over before `spawn` returns: nothing of the node is read after this call.
                let keep = cache.arc();
                let status = spawner.spawn.call(
                    spawner.data.0,
                    super::life::entry,
                    arg,
                    name.as_c_str().as_ptr(),
                    options.stack_size,
                    &mut handle,
                );
                if status == error::OK {
                    if spawner.join.is_some() {
                        super::ended::set_handle(&keep, id, handle);
                    }
                    return Ok(());
                }
                match error::c_name(status) {
                    Some(name) => format!("the spawn option returned {}", name.to_string_lossy()),
                    None => format!("the spawn option returned {status}, which is no selv_status"),
                }
            }
        };
        self.undo();
        Err(Error::new(
            error::SPAWN,
            format!("no worker thread could be started: {why}"),
        ))
    }

    fn undo(self) {
        let node = self.node;
        let mut state = self.cache.lock();
        forget(&mut state, node);
        state.counts.workers -= 1;
        state.counts.started -= 1;
        state.counts.spawn_failures += 1;
        if self.raised_peak {
            state.counts.peak_workers -= 1;
        }
        self.cache.note_change(&mut state);
        drop(state);
        node.handoff.set_running();
        node.give_back();
        self.cache.release();
    }
}
