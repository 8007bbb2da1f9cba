//! What every exported function needs: catching our own bugs, reading handles, options and strings.

pub mod guard;
pub mod handles;
pub mod options;
