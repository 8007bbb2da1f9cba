//! The pools that are compared, each a short file or a few lines of one.

pub mod child;
pub mod list;
pub mod native;
pub mod rust;
pub mod selvedge;
