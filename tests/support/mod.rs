//! What the test drivers share: where things are, how a C program is built and run, and how a skip is told.
//!
//! The drivers (`tests/*.rs`) make one libtest-mimic trial of each C program. These variables change what they work on, so
//! that sanitizers and installed libraries go through the same doors:
//!
//! - `SELV_LIB_DIR`: the folder of `libselvedge.so` and `libselvedge.a` (default `target/release`)
//! - `SELV_CC`, `SELV_CXX`: the compilers (default `gcc`, `g++`); `SELV_CFLAGS`, `SELV_LDFLAGS`: words added for each program
//! - `SELV_RUNNER`: words put before each program, for example `valgrind --error-exitcode=9`
//! - `SELV_VARIANTS`: which of `shared,static,cxx,dlopened` to build (default all)
//! - `SELV_TIMEOUT_FACTOR`: multiplies every timeout
//! - `SELV_NO_SKIP=1`: a test that cannot run is a failure

#![allow(dead_code)] // each driver compiles this module for itself and uses its own part of it

pub mod header;
pub mod program;
pub mod runtimes;
pub mod summary;

use std::path::{Path, PathBuf};

/// The folder of the project.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `target/`, wherever the caller has put it.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The folder that holds the library under test.
pub fn lib_dir() -> PathBuf {
    std::env::var_os("SELV_LIB_DIR")
        .map_or_else(|| root().join("target/release"), |dir| root().join(dir))
}

/// Programs are kept here from run to run, apart for each library that they were linked with.
pub fn out_dir() -> PathBuf {
    let lib = lib_dir();
    let name: String = lib
        .strip_prefix(root())
        .unwrap_or(&lib)
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    root().join("target/c-tests").join(name.trim_matches('-'))
}

/// The words of an environment variable; none if it is not set.
pub fn env_words(name: &str) -> Vec<String> {
    std::env::var(name).map_or_else(
        |_| Vec::new(),
        |value| value.split_whitespace().map(str::to_owned).collect(),
    )
}

/// A command that must exist; `env` names the variable that overrides it.
pub fn tool(env: &str, default: &str) -> String {
    std::env::var(env).unwrap_or_else(|_| default.to_owned())
}

/// The files in `dir` whose names end in `.ext`, sorted by name.
pub fn files_with_extension(dir: &Path, ext: &str) -> Result<Vec<PathBuf>, String> {
    let entries =
        std::fs::read_dir(dir).map_err(|e| format!("cannot read {}: {e}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == ext))
        .collect();
    files.sort();
    Ok(files)
}

/// A path's file name without its extension.
pub fn stem(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

/// The library under test must have been built: says how, if it was not.
pub fn require_library() -> Result<(), String> {
    for file in ["libselvedge.so", "libselvedge.a"] {
        let path = lib_dir().join(file);
        if !path.exists() {
            return Err(format!(
                "{} is missing: run `make lib`, or set SELV_LIB_DIR",
                path.display()
            ));
        }
    }
    Ok(())
}
