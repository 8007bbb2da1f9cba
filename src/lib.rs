//! `libselvedge`: a thread cache and hooks for processes that hold several language runtimes, as a C library.
//!
//! The C programmer's page is `include/selvedge.h`. Here is the map of the source; data flows one way.
//!
//! - `capi`: every exported function: check, convert, call the core, return.
//! - `core`: the library in terms of Rust.
//! - `sys`: the operating system.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]
// The models leave the C functions out, and with them what only those use; and none of their tasks is in a static slot.
#![cfg_attr(
    any(loom, shuttle),
    allow(dead_code, unused_imports, clippy::absurd_extreme_comparisons)
)]

#[cfg(not(any(loom, shuttle)))]
pub mod capi;
mod core;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod sys;
