//! The language runtimes and event loops that `tools/find-runtimes.sh` found on this machine.

use super::root;
use std::path::PathBuf;

/// The kinds that tests are written for.
pub const KINDS: [&str; 6] = ["python", "jvm", "coreclr", "mono", "glib", "uv"];

/// One line of `target/runtimes/found.tsv`.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub kind: String,
    pub version: String,
    pub cflags: Vec<String>,
    pub ldflags: Vec<String>,
    pub env: Vec<(String, String)>,
    /// python: its executable; jvm: JAVA_HOME; coreclr: the folder of libcoreclr.so; mono: mcs.
    pub extra: String,
}

impl Runtime {
    fn parse(line: &str) -> Result<Runtime, String> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, version, cflags, ldflags, env, extra] = fields[..] else {
            return Err(format!(
                "{} fields where 6 were expected: {line}",
                fields.len()
            ));
        };
        let words = |text: &str| match text {
            "-" => Vec::new(),
            _ => text
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        };
        let env = words(env)
            .iter()
            .map(|word| {
                let (name, value) = word
                    .split_once('=')
                    .ok_or_else(|| format!("no NAME=VALUE: {word}"))?;
                Ok((name.to_owned(), value.to_owned()))
            })
            .collect::<Result<_, String>>()?;
        let own = |text: &str| text.to_owned();
        Ok(Runtime {
            kind: own(kind),
            version: own(version),
            cflags: words(cflags),
            ldflags: words(ldflags),
            env,
            extra: own(extra),
        })
    }

    /// The version as numbers, so that 9 comes before 10.
    pub fn version_key(&self) -> Vec<u64> {
        self.version
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect()
    }
}

/// Where the list is.
pub fn list_path() -> PathBuf {
    root().join("target/runtimes/found.tsv")
}

/// All runtimes found; an error if nobody has looked yet.
pub fn found() -> Result<Vec<Runtime>, String> {
    let path = list_path();
    let text = std::fs::read_to_string(&path).map_err(|e| {
        format!(
            "cannot read {}: {e}: run `make setup` or tools/find-runtimes.sh",
            path.display()
        )
    })?;
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(Runtime::parse)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("{}: {e}", path.display()))
}
