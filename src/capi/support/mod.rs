//! What every exported function needs: catching our own bugs, reading handles, options, strings and tasks.

pub mod guard;
pub mod handles;
pub mod options;
pub mod tasks;
