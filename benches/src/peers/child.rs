//! Peers in a process of their own: Java, Python and the programs that attach to real runtimes. They take one command a line
//! ("roundtrip 3000") and answer with one ("ok 17000000 1": nanoseconds and a count, or "error" and a sentence), so that they
//! take turns with the others round by round.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

pub struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts the program and waits until it says "ready".
    pub fn start(command: &mut Command) -> Result<Child, String> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("piped above"));
        let mut child = Child {
            process,
            input,
            output,
        };
        match child.line()?.as_str() {
            "ready" => Ok(child),
            other => Err(format!(
                "{:?} says {other:?} in place of \"ready\"",
                command.get_program()
            )),
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(match self.process.wait() {
                Ok(status) => format!("the program ended ({status})"),
                Err(error) => error.to_string(),
            }),
            Ok(_) => Ok(line.trim().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Sends one command; the two numbers of its answer.
    pub fn ask(&mut self, command: &str) -> Result<(f64, f64), String> {
        let input = self.input.as_mut().expect("open until the end");
        writeln!(input, "{command}")
            .and_then(|()| input.flush())
            .map_err(|e| e.to_string())?;
        let line = self.line()?;
        let mut words = line.split_whitespace();
        let number = |word: Option<&str>| word.and_then(|w| w.parse::<f64>().ok());
        match (words.next(), number(words.next()), number(words.next())) {
            (Some("ok"), Some(first), Some(second)) => Ok((first, second)),
            _ => Err(format!("{command:?}: {line}")),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The end of its input is the sign to leave; reaping it makes its CPU time ours.
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
