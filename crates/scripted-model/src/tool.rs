//! The tools that a request offers, and the call of one of them.

use serde_json::{Map, Value, json};

/// Shell tools by name, as the known harnesses call theirs.
const SHELLS: [&str; 6] =
    ["bash", "Bash", "exec_command", "run_shell_command", "terminal", "shell"];
/// The names under which shell tools take their command, likeliest first.
const COMMAND: [&str; 2] = ["command", "cmd"];
const WRITERS: [&str; 3] = ["write", "Write", "write_file"];
const PATH: [&str; 3] = ["filePath", "file_path", "path"];
const CONTENT: [&str; 2] = ["content", "text"];

/// opencode offers this to LiteLLM when it means to offer nothing: some gateways refuse a history of
/// tool calls without a list of tools.
const NO_TOOL: &str = "_noop";

/// A tool as the request describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    /// JSON Schema of the arguments, or null.
    pub schema: Value,
}

/// A call the model makes; `arguments` is JSON text, as the wire carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// What to call and with what, before the call has an id.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    pub name: String,
    pub arguments: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    #[error("no shell tool is offered, only: {offered}")]
    NoShell { offered: String },
    #[error("no tool named {name} is offered, only: {offered}")]
    NotOffered { name: String, offered: String },
}

/// The tools of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Toolbox(Vec<Tool>);

impl Toolbox {
    pub fn new(tools: impl IntoIterator<Item = Tool>) -> Self {
        Self(tools.into_iter().filter(|tool| tool.name != NO_TOOL).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|tool| tool.name.as_str()).collect()
    }

    pub fn run(&self, command: &str) -> Result<Invocation, ToolError> {
        let shell =
            self.first_of(&SHELLS).ok_or_else(|| ToolError::NoShell { offered: self.offered() })?;
        Ok(shell.invoke([(shell.property(&COMMAND), json!(command))]))
    }

    /// Writes a file with the harness's own tool, or through the shell where it has none.
    pub fn write(&self, path: &str, text: &str) -> Result<Invocation, ToolError> {
        match self.first_of(&WRITERS) {
            Some(writer) => Ok(writer.invoke([
                (writer.property(&PATH), json!(path)),
                (writer.property(&CONTENT), json!(text)),
            ])),
            None => self.run(&format!("printf '%s' {} > {}", quoted(text), quoted(path))),
        }
    }

    /// Calls a tool by its name; harnesses put a prefix before the names of MCP tools, so the end of
    /// a name will do where no name fits whole.
    pub fn call(&self, name: &str, arguments: Map<String, Value>) -> Result<Invocation, ToolError> {
        let suffix = format!("_{name}");
        let tool = self
            .0
            .iter()
            .find(|tool| tool.name == name)
            .or_else(|| self.0.iter().find(|tool| tool.name.ends_with(&suffix)))
            .ok_or_else(|| ToolError::NotOffered {
                name: name.to_owned(),
                offered: self.offered(),
            })?;
        Ok(tool.invoke(arguments))
    }

    fn first_of(&self, names: &[&str]) -> Option<&Tool> {
        names.iter().find_map(|name| self.0.iter().find(|tool| tool.name == *name))
    }

    fn offered(&self) -> String {
        self.names().join(", ")
    }
}

impl Tool {
    /// The first of `candidates` that the schema names, else the first: a schema may be missing.
    fn property(&self, candidates: &[&'static str]) -> &'static str {
        let properties = self.schema.get("properties");
        candidates
            .iter()
            .find(|name| properties.is_some_and(|known| known.get(**name).is_some()))
            .or_else(|| candidates.first())
            .copied()
            .unwrap_or_default()
    }

    /// Fills required properties that the script says nothing about.
    fn invoke<Name: Into<String>>(
        &self,
        given: impl IntoIterator<Item = (Name, Value)>,
    ) -> Invocation {
        let mut arguments: Map<String, Value> =
            given.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let required = self.schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !arguments.contains_key(name) {
                let property = self.schema.get("properties").and_then(|known| known.get(name));
                arguments.insert(name.to_owned(), placeholder(property));
            }
        }
        Invocation { name: self.name.clone(), arguments }
    }
}

/// A value of the property's JSON type.
fn placeholder(property: Option<&Value>) -> Value {
    let member = |name| property.and_then(|property| property.get(name));
    if let Some(allowed) = member("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return allowed.clone();
    }
    match member("type").and_then(Value::as_str) {
        Some("number" | "integer") => member("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("null") => Value::Null,
        Some(_) | None => json!("scripted"),
    }
}

/// Quoted for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, properties: &Value, required: &Value) -> Tool {
        Tool {
            name: name.to_owned(),
            schema: json!({"type": "object", "properties": properties, "required": required}),
        }
    }

    fn called(invocation: Result<Invocation, ToolError>) -> (String, Value) {
        let invocation = invocation.expect("the tool is offered");
        (invocation.name, Value::Object(invocation.arguments))
    }

    #[test]
    fn the_shell_of_each_known_harness_is_found_with_its_own_property() {
        for (name, property) in [
            ("bash", "command"),
            ("Bash", "command"),
            ("exec_command", "cmd"),
            ("run_shell_command", "command"),
            ("terminal", "command"),
        ] {
            let tools = Toolbox::new([
                tool("read", &json!({}), &json!([])),
                tool(name, &json!({property: {"type": "string"}}), &json!([property])),
            ]);
            assert_eq!(called(tools.run("ls")), (name.to_owned(), json!({property: "ls"})));
        }
    }

    #[test]
    fn the_writing_tool_of_each_known_harness_is_found_with_its_own_properties() {
        for (name, path) in [("write", "filePath"), ("Write", "file_path"), ("write_file", "path")]
        {
            let tools =
                Toolbox::new([tool(name, &json!({path: {}, "content": {}}), &json!([path]))]);
            let written = json!({path: "a.txt", "content": "hi"});
            assert_eq!(called(tools.write("a.txt", "hi")), (name.to_owned(), written));
        }
    }

    #[test]
    fn without_a_writing_tool_the_shell_prints_into_the_file() {
        let tools = Toolbox::new([tool("exec_command", &json!({"cmd": {}}), &json!(["cmd"]))]);
        let (_, arguments) = called(tools.write("a b.txt", "it's"));
        assert_eq!(arguments, json!({"cmd": r"printf '%s' 'it'\''s' > 'a b.txt'"}));
    }

    #[test]
    fn other_required_properties_are_filled_by_their_type() {
        let properties = json!({
            "command": {"type": "string"}, "description": {"type": "string"},
            "timeout": {"type": "integer", "minimum": 10}, "count": {"type": "number"},
            "login": {"type": "boolean"}, "args": {"type": "array"}, "env": {"type": "object"},
            "mode": {"enum": ["fast", "slow"]}, "optional": {"type": "string"},
        });
        let required =
            json!(["command", "description", "timeout", "count", "login", "args", "env", "mode"]);
        let (_, arguments) = called(Toolbox::new([tool("bash", &properties, &required)]).run("ls"));
        assert_eq!(
            arguments,
            json!({"command": "ls", "description": "scripted", "timeout": 10, "count": 1,
                   "login": false, "args": [], "env": {}, "mode": "fast"})
        );
    }

    #[test]
    fn a_tool_is_called_by_its_name_or_by_the_end_of_a_prefixed_name() {
        let tools = Toolbox::new([
            tool("mcp__sums_add", &json!({}), &json!([])),
            tool("add", &json!({}), &json!([])),
            tool("files_list", &json!({}), &json!([])),
        ]);
        assert_eq!(called(tools.call("add", Map::new())).0, "add");
        assert_eq!(called(tools.call("list", Map::new())).0, "files_list");
        assert_eq!(
            tools.call("subtract", Map::new()).unwrap_err().to_string(),
            "no tool named subtract is offered, only: mcp__sums_add, add, files_list"
        );
    }

    #[test]
    fn the_placeholder_tool_of_opencode_counts_as_no_tool() {
        assert!(Toolbox::new([tool("_noop", &json!({}), &json!([]))]).is_empty());
    }
}
