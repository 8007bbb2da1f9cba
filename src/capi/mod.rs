//! The exported functions, one file per C type, and what they share. No logic lives here.

// The order of the header.
pub mod status;

pub mod cache;

pub mod job;

pub mod hook;

pub mod worker;

pub mod trace;

pub mod task;

pub mod operation;

pub mod host_loop;

pub mod guest;

pub mod lock;

pub mod condition;

pub mod semaphore;

pub mod limiter;

pub mod event;

pub mod parking_lot;

pub mod channel;

pub mod graph;

pub mod support;
