//! Tasks, and the primitives through which they wait for each other.
//!
//! Read in this order: [`task`] who owns, [`wait`] and [`lines`] how anybody waits, [`operation`] waiting without a thread, [`lock`] and
//! [`condition`], then the others; [`exit`] what an exit breaks, [`deadlock`] the rings that are refused, [`graph`] the picture.

pub mod answer;
pub mod batch;
pub mod channel;
pub mod completions;
pub mod condition;
pub mod current;
pub mod deadlock;
pub mod event;
pub mod exit;
pub mod graph;
pub mod identity;
pub mod limiter;
pub mod lines;
pub mod lock;
pub mod operation;
pub mod parker;
pub mod parking_lot;
#[cfg(all(test, not(any(loom, shuttle))))]
mod reference;
#[cfg(all(test, not(any(loom, shuttle))))]
mod reference_tests;
pub mod registry;
pub mod report;
pub mod semaphore;
pub mod slot;
#[cfg(all(test, not(any(loom, shuttle))))]
mod storm_tests;
pub mod task;
pub mod timer;
pub mod wait;
