//! The library itself, in terms of Rust: no exported function, no layout that C sees except the outcome of a job.
//!
//! Read in this order: [`job`] what is handed over, [`handoff`] how one worker is given one order, [`idle`] who is idle,
//! [`cache`] the state under one lock, [`submit`] and [`life`] the two sides of it; then [`hook`] and [`attachment`], the
//! edges of a worker's life, and the ways out: [`unregister`], [`shutdown`], [`lost`]. Then [`sync`], which stands beside all that: tasks
//! and locks; and [`host`]: event loops of the host.

pub mod attachment;
pub mod cache;
pub mod callback;
pub mod chain;
pub mod delivery;
pub mod elsewhere;
pub mod ended;
pub mod entered;
pub mod error;
pub mod guarded;
pub mod handoff;
pub mod hook;
pub mod host;
pub mod idle;
pub mod job;
pub mod life;
pub mod limited;
pub mod lost;
pub mod name;
pub mod node;
pub mod panic;
pub mod queue;
pub mod shutdown;
pub mod spawn;
pub mod spin;
pub mod submit;
pub mod sync;
pub mod trace;
pub mod unregister;
pub mod worker;
