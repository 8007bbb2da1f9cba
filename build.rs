//! Generates `include/selvedge.h`, and gives the shared library its soname and its refusal to be unloaded.

use std::{env, fs, path::PathBuf};

/// The number in the soname; equals `SELV_ABI_VERSION`.
const ABI: u32 = 0;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    for input in ["src", "cbindgen.toml", "include/selvedge.h", "build.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rerun-if-env-changed=SELV_HEADER_OUT");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libselvedge.so.{ABI}");
        // Workers live in the library's code: it stays where it is as long as the process does.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    // The committed header is written only when it is asked for: a build does not change the source tree.
    let Some(out) = env::var_os("SELV_HEADER_OUT").map(PathBuf::from) else {
        return;
    };
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))
        .unwrap_or_else(|e| panic!("cbindgen.toml: {e}"));
    let bindings = cbindgen::generate_with_config(&root, config)
        .unwrap_or_else(|e| panic!("the header cannot be generated: {e}"));
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).expect("cbindgen writes UTF-8");
    fs::write(&out, polished(&text)).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
}

/// What a C programmer need not see: Rust's name for a field, and the safety section that repeats the contract.
fn polished(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut in_safety = false;
    for line in text.lines() {
        if line.trim() == "* # Safety" {
            in_safety = true;
            while lines.last().is_some_and(|l| l.trim() == "*") {
                lines.pop();
            }
        }
        if in_safety && line.trim() == "*/" {
            in_safety = false;
        }
        if !in_safety {
            lines.push(line);
        }
    }
    // The initialisers come last, and belong inside the include guard like everything else.
    if let Some(end) = lines
        .iter()
        .rposition(|l| l.starts_with("#endif  /* SELVEDGE_H"))
    {
        let end = lines.remove(end);
        lines.extend(["", end]);
    }
    lines
        .join("\n")
        .replace(" fn_;", " fn;")
        .replace(" fn_,", " fn,")
        .replace(" *loop_;", " *loop;")
        + "\n"
}
