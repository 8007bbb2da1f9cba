//! `libselvedge`: a thread cache and hooks for processes that hold several language runtimes, as a C library.
//!
//! The C programmer's page is `include/selvedge.h`. Here is the map of the source; data flows one way.
//!
//! - `capi`: every exported function: check, convert, call the core, return.
//! - `core`: the library in terms of Rust.
//! - `sys`: the operating system.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]
// The models leave the C functions out, and with them what only those use.
#![cfg_attr(loom, allow(dead_code, unused_imports))]

#[cfg(not(loom))]
pub mod capi;
mod core;
#[cfg(all(test, loom))]
mod models;
mod sys;
