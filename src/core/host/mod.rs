//! Event loops that the host runs, and what is run in them.
//!
//! Read in this order: [`host_loop`] the queue into a loop, [`entry`] what can be in it, [`drain`] the loop's side of it, [`outcome`] jobs whose
//! outcome is told there; then [`guest`], a loop that lives inside another: its ticks, its polls, its end.

pub mod drain;
pub mod entry;
pub mod guest;
pub mod host_loop;
pub mod outcome;
mod state;
mod underway;
