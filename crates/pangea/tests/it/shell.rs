//! The built program, as a shell runs it.

use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::scene::within;

/// Longer than any command of these tests takes, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a program said, and its exit status.
pub(crate) struct Told {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Told {
    /// Standard output as one JSON value.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Standard output as a JSON value on each line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        assert_eq!(self.status, 0, "{}", self.stderr);
        let value = |line| serde_json::from_str(line).expect("a line of JSON");
        self.stdout.lines().map(value).collect()
    }

    /// Standard output, of a command that did what it was asked.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.status, 0, "{}", self.stderr);
        self.stdout
    }

    /// Standard error, of a command that was refused and wrote nothing else.
    pub(crate) fn refusal(self) -> String {
        assert_eq!(self.status, 1, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "");
        self.stderr
    }
}

/// Runs the program to its end.
pub(crate) async fn pangea(arguments: &[&str]) -> Told {
    pangea_with(&[], arguments).await
}

/// Runs the program to its end, with these variables in its environment.
pub(crate) async fn pangea_with(variables: &[(&str, &str)], arguments: &[&str]) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pangea"));
    command.env_remove("PANGEA_SERVER").args(arguments);
    command.envs(variables.iter().copied());
    run(command).await
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Told {
    command.kill_on_drop(true);
    let output = within(PATIENCE, command.output()).await;
    let output = output.expect("the program runs");
    Told {
        status: output.status.code().expect("an exit status"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}
