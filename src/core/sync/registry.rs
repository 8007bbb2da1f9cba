//! Every object, for an exiting task's sake and for the picture of who waits for whom.
//!
//! The rows of the table change by one word at a time, so that a fork child, too, finds the objects that it has.

use super::wait::Object;
use crate::sys::lock::{ForkLock, ForkReset, static_lock};
use crate::sys::table::static_table;
use std::sync::Arc;

/// A row that is taken has its object; the number is the object's as long as it lives.
pub struct Row(ForkLock<Entry>);

/// One word, which is whole in a fork child whatever another thread was doing.
struct Entry(Option<Box<Arc<dyn Object>>>);

impl ForkReset for Entry {
    fn reset_in_child(&mut self) {}
}

impl Entry {
    fn object(&self) -> Option<Arc<dyn Object>> {
        self.0.as_deref().cloned()
    }
}

impl Default for Row {
    fn default() -> Row {
        Row(ForkLock::new(Entry(None)))
    }
}

struct Free(Vec<u32>);

impl ForkReset for Free {
    fn reset_in_child(&mut self) {
        std::mem::forget(std::mem::take(&mut self.0));
    }
    fn keep_in_child(&mut self) {}
}

static_table!(static OBJECTS: Row);
static_lock!(static FREE: Free = Free(Vec::new()));

/// Where an object is registered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(Option<u32>);

/// Enters an object. It stays until [`remove`].
pub fn add(object: Arc<dyn Object>) -> Place {
    let mut free = FREE.lock();
    let index = free.0.pop().map(|i| i as usize).or_else(|| OBJECTS.grow());
    drop(free);
    if let Some(row) = index.and_then(|i| OBJECTS.get(i)) {
        row.0.lock().0 = Some(Box::new(object));
    }
    Place(index.map(|i| i as u32))
}

pub fn remove(place: Place) {
    let Some(index) = place.0 else { return };
    if let Some(row) = OBJECTS.get(index as usize) {
        let object = row.0.lock().0.take();
        drop(object);
        FREE.lock().0.push(index);
    }
}

/// The object that is registered there now.
pub fn at(place: Place) -> Option<Arc<dyn Object>> {
    OBJECTS.get(place.0? as usize)?.0.lock().object()
}

/// The objects there are; none is locked.
pub fn all() -> Vec<Arc<dyn Object>> {
    (0..OBJECTS.rows())
        .filter_map(|index| OBJECTS.get(index)?.0.lock().object())
        .collect()
}
