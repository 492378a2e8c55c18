//! kubectl towards one node.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::command::run;
use crate::failure::NodeError;

/// Says and asks everything through the program that people use.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// kubectl, to be given arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Runs it, and gives what it wrote.
    pub fn run(&self, arguments: &[&str]) -> Result<String, NodeError> {
        run(self.command().args(arguments))
    }

    /// Asks for objects.
    pub fn get(&self, arguments: &[&str]) -> Result<Value, NodeError> {
        let arguments = [&["get", "--output=json"], arguments].concat();
        self.json(self.command().args(arguments))
    }

    /// Makes what is described, or changes it to what is described. The server compares: definitions of kinds are too large
    /// for kubectl's own way of remembering.
    pub fn apply(&self, objects: &Value) -> Result<String, NodeError> {
        let arguments =
            ["apply", "--server-side", "--force-conflicts", "--field-manager=test-node", "-f", "-"];
        self.feed(&arguments, &objects.to_string())
    }

    /// The one object of a YAML file.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Value, NodeError> {
        let arguments = ["create", "--dry-run=client", "--validate=false", "--output=json", "-f"];
        self.json(self.command().args(arguments).arg(path))
    }

    /// Runs it with something to read.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Result<String, NodeError> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(NodeError::file("run", &self.program))?;
        if let Some(mut stdin) = child.stdin.take() {
            // When it does not read, what it says at its end tells more than this.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(NodeError::file("run", &self.program))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let output = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        Err(NodeError::Command { command: format!("kubectl {}", arguments.join(" ")), output })
    }

    fn json(&self, command: &mut Command) -> Result<Value, NodeError> {
        let text = run(command)?;
        serde_json::from_str(&text).map_err(|error| NodeError::Unreadable {
            path: self.program.clone(),
            problem: error.to_string(),
        })
    }
}
